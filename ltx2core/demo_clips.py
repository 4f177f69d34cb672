"""A small folder of drawn clips with tones and captions, of differing size, length, rate and sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from .media.audio import Waveform
from .media.write import write_video

_RATE = 48000
# Two looks: the tiny base learns the bright one, so that the dark one is new to it.
_LOOKS = {
    "dark": ((10, 60), {"red": (220, 50, 40), "green": (60, 190, 80), "blue": (50, 90, 220), "yellow": (235, 205, 60), "purple": (160, 60, 190)}),
    "bright": ((150, 230), {"black": (20, 20, 20), "cyan": (40, 200, 210), "orange": (235, 130, 30), "pink": (230, 120, 170), "brown": (120, 75, 40)}),
}
_SHAPES = ("circle", "square", "triangle")
_MOVES = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


@dataclass(frozen=True)
class _Form:
    """Size, rate and sound of one clip of the folder; together they cover what a folder may hold."""

    width: int
    height: int
    seconds: float
    frame_rate: int
    channels: int


_FORMS = (
    _Form(128, 96, 1.4, 25, 2),
    _Form(160, 96, 1.6, 24, 2),
    _Form(128, 96, 1.5, 30, 1),
    _Form(128, 96, 1.4, 25, 0),
    _Form(96, 128, 1.5, 25, 2),
    _Form(160, 128, 1.8, 30, 2),
    _Form(128, 96, 2.0, 24, 2),
    _Form(128, 96, 1.4, 25, 2),
)


def _draw(form: _Form, shape: str, fill: tuple[int, int, int], move: str, background: int, phase: float) -> torch.Tensor:
    frames = []
    count = round(form.seconds * form.frame_rate)
    dx, dy = _MOVES[move]
    radius = min(form.width, form.height) * 0.2
    for i in range(count):
        travelled = i / form.frame_rate * 0.35 + phase
        x = ((0.5 + dx * travelled) % 1) * form.width
        y = ((0.5 + dy * travelled) % 1) * form.height
        image = Image.new("RGB", (form.width, form.height), (background,) * 3)
        pen = ImageDraw.Draw(image)
        box = (x - radius, y - radius, x + radius, y + radius)
        if shape == "circle":
            pen.ellipse(box, fill=fill)
        elif shape == "square":
            pen.rectangle(box, fill=fill)
        else:
            pen.regular_polygon((x, y, radius), 3, fill=fill)
        frames.append(np.asarray(image))
    return torch.from_numpy(np.stack(frames))


def _tone(form: _Form, shape: str, phase: float) -> Waveform | None:
    if not form.channels:
        return None
    time = torch.arange(round(form.seconds * _RATE)) / _RATE
    pitch = 220.0 * (1 + _SHAPES.index(shape)) * (1 + 0.1 * phase)
    samples = 0.3 * torch.sin(2 * torch.pi * pitch * time) * (0.6 + 0.4 * torch.sin(2 * torch.pi * 3 * time))
    return Waveform(samples.float().expand(form.channels, -1).contiguous(), _RATE)


def write_demo_clips(folder: str | Path, seed: int = 0, count: int = 8, look: str = "dark") -> list[Path]:
    """Write ``count`` clips with captions beside them; the same seed gives the same clips, seconds in all.

    Moving shapes (the tone's pitch belongs to the shape): 24, 25 and 30 frames a second, one mono, one silent, one
    portrait among the first eight.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    random, paths = np.random.default_rng(seed), []
    (darkest, brightest), colours = _LOOKS[look]
    for i in range(count):
        form = _FORMS[i % len(_FORMS)]
        shape, colour = str(random.choice(_SHAPES)), str(random.choice(list(colours)))
        move, background, phase = str(random.choice(list(_MOVES))), int(random.integers(darkest, brightest)), float(random.random())
        path = folder / f"clip_{i:03d}.mp4"
        write_video(path, _draw(form, shape, colours[colour], move, background, phase), form.frame_rate, _tone(form, shape, phase))
        sound = "without sound" if not form.channels else f"with a {('low', 'middle', 'high')[_SHAPES.index(shape)]} tone"
        path.with_suffix(".txt").write_text(f"A {colour} {shape} moves {move} over a {look} background, {sound}.\n", encoding="utf-8")
        paths.append(path)
    return paths
