"""Decoding from a time on, in files that may have no index to seek by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import av

from .probe import origin

Frame = TypeVar("Frame", av.VideoFrame, av.AudioFrame)


def frames_from(
    container: av.container.InputContainer, stream: av.stream.Stream, decoded: Callable[[], Iterator[tuple[float, Frame]]], start: float, run_up: float = 0.0
) -> Iterator[tuple[float, Frame]]:
    """(seconds, frame) of ``decoded``, begun anew after a seek, from at or before ``start``; otherwise from the file's beginning.

    Args:
        run_up: seconds before ``start`` to seek to.
    """
    if stream.start_time is not None:
        zero = origin(container)
        container.seek(int((start + zero - run_up) / stream.time_base), stream=stream)
        frames = decoded()
        first = next(frames, None)
        if first is not None and first[1].pts is not None and first[0] <= start:
            yield first
            yield from frames
            return
        # Some containers have no index to seek by, and land behind the place or know no time there.
        container.seek(int(zero / stream.time_base), stream=stream)
    yield from decoded()
