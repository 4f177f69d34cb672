"""Where a film is cut, by a plain measure of how much the picture changes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import LTX2Error
from .probe import opened, picture_stream
from .video import timed_frames

_SIZE = (64, 36)
_PEAK = 3.0  # a cut changes the picture this many times as much as what happens around it, which motion doesn't
_AROUND = 6


def cut_points(path: str | os.PathLike, threshold: float = 0.1) -> tuple[float, ...]:
    """Seconds at which a new scene begins.

    There the mean difference of grey (0..1) between two frames is above ``threshold``, and three times what is usual
    around it, which motion alone is not. The whole film is decoded, at 64x36.

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
    change = np.abs(np.diff(np.stack(pictures).astype(np.float32) / 255, axis=0)).mean(axis=(1, 2))
    cuts = []
    for i in np.flatnonzero(change > threshold):
        around = np.delete(change[max(0, i - _AROUND) : i + _AROUND + 1], min(i, _AROUND))
        if change[i] >= _PEAK * np.median(around):
            cuts.append(times[i + 1])
    return tuple(cuts)
