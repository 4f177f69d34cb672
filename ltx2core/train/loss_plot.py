"""A picture of a run's losses, drawn with PIL alone."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from .history import History

SIZE = (960, 540)
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 40, 20, 50
COLOURS = {"video": (37, 99, 235), "audio": (217, 119, 6), "validation video": (13, 148, 136), "validation audio": (190, 24, 93)}
_PAPER, _INK, _GRID = (255, 255, 255), (60, 60, 60), (225, 225, 225)

Points = list[tuple[float, float]]


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Running mean over the last ``window`` values (fewer at the start)."""
    result, total = [], 0.0
    for i, value in enumerate(values):
        total += value - (values[i - window] if i >= window else 0.0)
        result.append(total / min(i + 1, window))
    return result


def curves(history: History) -> dict[str, Points]:
    """Name -> (step, loss) points; names without points are left out."""
    found = {
        "video": [(r.step, r.video) for r in history.steps if r.video is not None],
        "audio": [(r.step, r.audio) for r in history.steps if r.audio is not None],
        "validation video": [(v.step, v.video) for v in history.validation if v.video is not None],
        "validation audio": [(v.step, v.audio) for v in history.validation if v.audio is not None],
    }
    return {name: points for name, points in found.items() if points}


def _lighter(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    return tuple(255 - (255 - c) // 4 for c in colour)


def nice_ticks(top: float, wanted: int = 5) -> list[float]:
    """Round numbers from 0 up to ``top``, about ``wanted`` of them."""
    step = 10.0 ** len(str(int(top))) if top >= 1 else 1.0
    while top / step < wanted:
        step /= 2 if str(step).strip("0.").startswith("1") else 2.5 if str(step).strip("0.").startswith("5") else 2
    return [i * step for i in range(int(top / step) + 1)]


class _Axes:
    """Maps (step, loss) to pixels."""

    def __init__(self, last_step: float, top: float):
        self._x, self._y = max(last_step, 1), top

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        width, height = SIZE[0] - _LEFT - _RIGHT, SIZE[1] - _TOP - _BOTTOM
        return _LEFT + point[0] / self._x * width, _TOP + (1 - min(point[1], self._y) / self._y) * height

    def draw(self, pen: ImageDraw.ImageDraw, font: ImageFont.ImageFont) -> None:
        for value in nice_ticks(self._y):
            x, y = self.place((0, value))
            pen.line((x, y, SIZE[0] - _RIGHT, y), fill=_GRID)
            pen.text((x - 8, y), f"{value:.4g}", fill=_INK, font=font, anchor="rm")
        for value in nice_ticks(self._x):
            x, y = self.place((value, 0))
            pen.line((x, y, x, y + 4), fill=_INK)
            pen.text((x, y + 8), f"{value:g}", fill=_INK, font=font, anchor="ma")
        left, bottom = self.place((0, 0))
        pen.line((left, _TOP, left, bottom, SIZE[0] - _RIGHT, bottom), fill=_INK)
        pen.text((SIZE[0] // 2, SIZE[1] - 18), "step", fill=_INK, font=font, anchor="mm")


def _curve(pen: ImageDraw.ImageDraw, axes: _Axes, name: str, points: Points) -> None:
    colour = COLOURS[name]
    placed = [axes.place(p) for p in points]
    if name.startswith("validation"):
        for x, y in placed:
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour)
        pen.line(placed, fill=colour, width=1)
        return
    if len(placed) == 1:
        pen.ellipse((placed[0][0] - 2, placed[0][1] - 2, placed[0][0] + 2, placed[0][1] + 2), fill=colour)
    pen.line(placed, fill=_lighter(colour), width=1)
    smoothed = smooth([v for _, v in points], max(1, len(points) // 30))
    pen.line([axes.place((s, v)) for (s, _), v in zip(points, smoothed, strict=True)], fill=colour, width=2)


def draw_losses(history: History) -> Image.Image:
    """RGB picture, 960x540: losses by step (thin, with a running mean over it) and validation losses as dots."""
    found = curves(history)
    image = Image.new("RGB", SIZE, _PAPER)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    values = sorted(v for points in found.values() for _, v in points)
    # One bad step must not flatten the rest: the top is the 98 % quantile, higher points are drawn at the edge.
    top = (values[int(0.98 * (len(values) - 1))] * 1.1 or 1.0) if values else 1.0
    axes = _Axes(max((s for points in found.values() for s, _ in points), default=1), top)
    axes.draw(pen, font)
    x = _LEFT
    for name, points in found.items():
        _curve(pen, axes, name, points)
        pen.rectangle((x, 14, x + 14, 24), fill=COLOURS[name])
        pen.text((x + 20, 19), name, fill=_INK, font=font, anchor="lm")
        x += 40 + int(pen.textlength(name, font=font))
    return image
