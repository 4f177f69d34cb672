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
    times, changes, previous = [], [], None
    with opened(path) as container:
        stream = picture_stream(container)
        if stream is None:
            raise LTX2Error(f"{Path(path).name} has no picture; choose a video.")
        for time, frame in timed_frames(container, stream):
            picture = frame.reformat(width=_SIZE[0], height=_SIZE[1], format="gray").to_ndarray().astype(np.float32) / 255
            if previous is not None:
                times.append(time)
                changes.append(float(np.abs(picture - previous).mean()))
            previous = picture
    change, cuts = np.array(changes), []
    for i in np.flatnonzero(change > threshold):
        around = np.delete(change[max(0, i - _AROUND) : i + _AROUND + 1], min(i, _AROUND))
        if not around.size or change[i] >= _PEAK * np.median(around):
            cuts.append(times[i])
    return tuple(cuts)
