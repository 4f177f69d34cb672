"""Many clips as one labelled video: a column an adapter, a row a prompt and seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import LTX2Error
from ..media.audio import decode_audio
from ..media.probe import MediaInfo, opened, picture_stream, probe
from ..media.video import rgb
from ..media.write import write_video
from .recipe import read_recipe, read_tags

T = TypeVar("T")

GRID_TAG, RECIPES_TAG = "ltx2_grid", "ltx2_recipes"
_MOST_RECIPES = 512 * 1024  # bytes: the host's page reads the graph from the first 2 MiB of a file
_WIDEST, _TALLEST = 3840, 2160  # what players and their decoders take everywhere
# Fonts with Japanese, Chinese and Korean, then one with Greek and Cyrillic, as Linux, Windows and macOS have them.
_FONTS = ("NotoSansCJK-Regular.ttc", "YuGothM.ttc", "msgothic.ttc", "msyh.ttc", "Hiragino Sans GB.ttc", "ArialUnicode.ttf", "DejaVuSans.ttf")
_BACK, _INK, _GAP = (24, 24, 27), (235, 235, 235), 4
_NOTE, _WIDE_ENOUGH = 18, 260  # pixels of a line under a tile, and of a tile under which the numbers stand in one line


@dataclass(frozen=True)
class GridRow:
    """label: one or more lines. files: one a column, None where there is none. notes: a text under each; may be left out."""

    label: str
    files: tuple[Path | None, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Pixels: of a tile, of the strip of row labels, of the strip of column labels, of the whole, and of the strip under each tile."""

    tile: tuple[int, int]
    left: int
    top: int
    width: int
    height: int
    note: int = 0

    def place(self, column: int, row: int) -> tuple[int, int]:
        return self.left + column * (self.tile[0] + _GAP), self.top + row * (self.tile[1] + self.note + _GAP)


def _even(value: float) -> int:
    return max(2, int(value) // 2 * 2)


def plan_layout(size: tuple[int, int], columns: int, rows: int, tile_width: int = 384, notes: bool = False) -> tuple[Layout, int]:
    """(layout, rows a page) of clips of ``size`` (width, height): tiles shrink until the columns fit, rows go on on the next page.

    Args:
        notes: leave room for a text under each tile.
    """
    left = max(96, tile_width // 3)
    wide = _even(min(tile_width, size[0], (_WIDEST - left) / columns - _GAP))
    tall = _even(wide * size[1] / size[0])
    top = max(28, tall // 8)
    note = (_NOTE if wide >= _WIDE_ENOUGH else 2 * _NOTE) if notes else 0
    page = min(rows, max(1, (_TALLEST - top) // (tall + note + _GAP)))
    return Layout((wide, tall), left, top, _even(left + columns * (wide + _GAP) + 1), _even(top + page * (tall + note + _GAP) + 1), note), page


def _font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own for Latin letters; for others one of the system that has them, where there is one."""
    if any(ord(c) > 0x24F for c in text):
        for name in _FONTS:
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)


def wrapped(text: str, width: int, font: ImageFont.FreeTypeFont, draw: ImageDraw.ImageDraw) -> list[str]:
    """Lines of at most ``width`` pixels; a word that is longer goes on in the next line."""
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.replace("_", "_ ").split():
            joined = word if not line else (line + word if line.endswith("_") else f"{line} {word}")
            if line and draw.textlength(joined, font=font) > width:
                lines.append(line)
                joined = word
            while draw.textlength(joined, font=font) > width and len(joined) > 1:
                fits = next(n for n in range(len(joined) - 1, 0, -1) if n == 1 or draw.textlength(joined[:n], font=font) <= width)
                lines.append(joined[:fits])
                joined = joined[fits:]
            line = joined
        lines.append(line)
    return lines


def _write(draw: ImageDraw.ImageDraw, text: str, box: tuple[int, int, int, int]) -> None:
    """``text`` inside ``box`` (left, top, width, height), in the largest size at which all of it fits; what still does not is left out."""
    left, top, width, height = box
    for size in range(min(22, max(10, height // 2)), 8, -1):
        font = _font(text, size)
        lines = wrapped(text, width - 8, font, draw)
        if len(lines) * (size + 3) <= height:
            break
    lines = lines[: max(1, height // (size + 3))]
    draw.multiline_text((left + 4, top + 2), "\n".join(lines), fill=_INK, font=font, spacing=2)


def background(layout: Layout, columns: Sequence[str], rows: Sequence[str], notes: Sequence[Sequence[str]] = ()) -> Image.Image:
    """The labels on an empty grid; ``notes``: of each row, the texts under its tiles."""
    image = Image.new("RGB", (layout.width, layout.height), _BACK)
    draw = ImageDraw.Draw(image)
    for i, text in enumerate(columns):
        _write(draw, text, (layout.place(i, 0)[0], 0, layout.tile[0], layout.top))
    for i, text in enumerate(rows):
        _write(draw, text, (0, layout.place(0, i)[1], layout.left, layout.tile[1]))
    for i, texts in enumerate(notes):
        for column, text in enumerate(texts):
            left, top = layout.place(column, i)
            _write(draw, text, (left, top + layout.tile[1], layout.tile[0], layout.note))
    return image


def at_rate(pictures: Iterable[T], own: float, rate: float) -> Iterator[T]:
    """``pictures`` of ``own`` frames a second, repeated or left out so that ``rate`` of them show the same second."""
    shown = 0
    for i, picture in enumerate(pictures):
        while shown * own < (i + 1) * rate - 1e-6:
            yield picture
            shown += 1


def _tiles(path: Path, size: tuple[int, int]) -> Iterator[Image.Image]:
    """The clip's frames at ``size``, whole, with bars where its shape is another."""
    with opened(path) as container:
        for frame in container.decode(picture_stream(container)):
            picture = Image.fromarray(rgb(frame))
            picture.thumbnail(size)
            tile = Image.new("RGB", size, _BACK)
            tile.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
            yield tile


def frames(layout: Layout, columns: Sequence[str], rows: Sequence[GridRow], infos: Mapping[Path, MediaInfo], rate: float, count: int) -> Iterator[np.ndarray]:
    """``count`` pictures uint8 [H, W, 3] at ``rate`` a second; a shorter clip stays at its last frame."""
    image = background(layout, columns, [r.label for r in rows], [r.notes for r in rows])
    files = [(layout.place(c, r), file) for r, row in enumerate(rows) for c, file in enumerate(row.files) if file is not None]
    cells = [(place, at_rate(_tiles(file, layout.tile), infos[file].frame_rate, rate)) for place, file in files]
    for _ in range(count):
        for place, tiles in cells:
            if (tile := next(tiles, None)) is not None:
                image.paste(tile, place)
        yield np.array(image)


def write_grids(
    folder: Path, columns: Sequence[str], rows: Sequence[GridRow], *, heard: int = 0, tile_width: int = 384, metadata: Mapping[str, str] | None = None
) -> list[Path]:
    """``grid.mp4``, and ``grid_2.mp4`` and so on where the rows need more pages. A grid of the same files is not written again.

    Args:
        heard: the column whose clip of a page's first row is heard.

    Clips of other rates than the first keep their speed.
    """
    infos = {f: probe(f) for row in rows for f in row.files if f is not None}
    first = next(iter(infos.values()))
    layout, page = plan_layout((first.width, first.height), len(columns), len(rows), tile_width, any(row.notes for row in rows))
    rate, pages = first.frame_rate, -(-len(rows) // page)
    longest = round(max(info.frames / info.frame_rate for info in infos.values()) * rate)
    paths = [folder / ("grid.mp4" if n == 0 else f"grid_{n + 1}.mp4") for n in range(pages)]
    content = _content(columns, rows, (heard, tile_width))
    if all(_holds(path, content) for path in paths):
        return paths
    for path, start in zip(paths, range(0, len(rows), page), strict=True):
        part = rows[start : start + page]
        sound = next((decode_audio(row.files[heard], rate=24000) for row in part if row.files[heard] is not None), None)
        write_video(path, frames(layout, columns, part, infos, rate, longest), rate, sound, {**(metadata or {}), **_recipes(part), GRID_TAG: content})
    return paths


def _recipes(rows: Sequence[GridRow]) -> dict[str, str]:
    """What each clip of a page was made with, by its file's name, as the clips themselves say it; nothing where that is too much."""
    found = {f.name: recipe for row in rows for f in row.files if f is not None and (recipe := read_recipe(f)) is not None}
    text = json.dumps(found, ensure_ascii=False)
    return {RECIPES_TAG: text} if found and len(text.encode()) <= _MOST_RECIPES else {}


def _content(columns: Sequence[str], rows: Sequence[GridRow], look: tuple[int, ...]) -> str:
    """A digest of labels and files as they are now."""
    shown = [[row.label, row.notes, [None if f is None else [f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in row.files]] for row in rows]
    return hashlib.sha256(json.dumps([look, list(columns), shown]).encode()).hexdigest()


def _holds(path: Path, content: str) -> bool:
    if not path.is_file():
        return False
    try:
        return read_tags(path).get(GRID_TAG) == content
    except LTX2Error:
        return False
