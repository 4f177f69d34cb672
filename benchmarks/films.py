"""Films with sound and captions for benchmarks, drawn in the size that is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ltx2core.media.audio import Waveform
from ltx2core.media.write import write_video

_RATE = 48000


def write_films(folder: Path, count: int, frames: int, height: int, width: int, frame_rate: int = 25) -> list[Path]:
    """``count`` of them, each with moving stripes and a tone of its own, and with a caption beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, rows, columns = [], np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    seconds = (frames + 1) / frame_rate
    for number in range(count):
        slant, colours = 0.02 + 0.01 * number, np.array([1.0, 1.3, 1.7])

        def picture(i: int, slant: float = slant, colours: np.ndarray = colours) -> np.ndarray:
            return (127.5 + 120 * np.sin(slant * (rows + columns * colours) + 0.3 * i)).astype(np.uint8)

        tone = torch.sin(torch.arange(round(seconds * _RATE)) * (2 * torch.pi * 220 * (1 + number % 12) / _RATE))
        path = folder / f"film-{number:03d}.mp4"
        write_video(path, (picture(i) for i in range(frames + 1)), frame_rate, Waveform(0.3 * tone.expand(2, -1).contiguous(), _RATE))
        path.with_suffix(".txt").write_text(f"Coloured stripes number {number} wander over the picture while a steady tone sounds.", encoding="utf-8")
        paths.append(path)
    return paths
