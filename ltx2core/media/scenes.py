"""Where a film is cut, by a plain measure of how much the picture changes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import LTX2Error
from .probe import opened, picture_stream
from .video import timed_frames

_SIZE = (64, 36)
_BINS = 16
_PEAK = 3.0  # a cut changes the picture this many times as much as what happens around it, which motion doesn't
_AROUND = 6


def _change(pictures: np.ndarray) -> np.ndarray:
    """0..1 per picture after the first: half the difference in place, half the difference of how often each grey occurs."""
    grey = pictures.astype(np.float32) / 255
    moved = np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2))
    counts = np.stack([np.bincount((p // (256 // _BINS)).ravel(), minlength=_BINS) for p in pictures]) / pictures[0].size
    return 0.5 * moved + 0.5 * np.abs(np.diff(counts, axis=0)).sum(1) / 2


def cut_points(path: str | os.PathLike, threshold: float = 0.15) -> tuple[float, ...]:
    """Seconds at which a new scene begins: the change is above ``threshold`` and stands out of the frames around it.

    The whole film is decoded, at 64x36.

    Raises:
        LTX2Error: unreadable, or no picture in it.
    """
    times, pictures = [], []
    with opened(path) as container:
        stream = picture_stream(container)
        if stream is None:
            raise LTX2Error(f"{Path(path).name} has no picture; choose a video.")
        for time, frame in timed_frames(container, stream):
            times.append(time)
            pictures.append(frame.reformat(width=_SIZE[0], height=_SIZE[1], format="gray").to_ndarray())
    if len(pictures) < 2:
        return ()
    change = _change(np.stack(pictures))
    cuts = []
    for i in np.flatnonzero(change > threshold):
        around = np.delete(change[max(0, i - _AROUND) : i + _AROUND + 1], min(i, _AROUND))
        if change[i] >= _PEAK * np.median(around):
            cuts.append(times[i + 1])
    return tuple(cuts)
