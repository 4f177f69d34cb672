"""Frames at the times that a frame rate asks for, whatever the file's own rate is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import Colorspace
from PIL import Image
from torch import Tensor

from ..errors import LTX2Error
from .hdr import CURVES, tone_mapped
from .image import cover, load_image
from .probe import IMAGE_SUFFIXES, opened, origin, picture_stream, rotation
from .seek import frames_from

__all__ = ["cover", "decode_video", "load_image", "timed_frames"]

# The last frame may be asked for up to this much (in frames of the wanted rate) after it ended; it absorbs the
# rounding of time bases.
_TOLERANCE = 0.5
_SEEK_FROM = 2.0  # seconds; below this, decoding from the beginning is as fast as a seek
_HD = 720  # lines from which a file that doesn't name its colours is taken for BT.709, as players do
_UNSPECIFIED = 2


def timed_frames(container: av.container.InputContainer, stream: av.VideoStream, start: float = 0.0) -> Iterator[tuple[float, av.VideoFrame]]:
    """(seconds since the picture began, frame), from a key frame at or before ``start`` on.

    Frames without a time stamp are counted at the stream's rate.
    """
    zero, step = origin(container), 1 / float(stream.average_rate or 25)
    stream.thread_type = "AUTO"

    def decoded() -> Iterator[tuple[float, av.VideoFrame]]:
        time = -step
        for frame in container.decode(stream):
            time = float(frame.pts * stream.time_base) - zero if frame.pts is not None else time + step
            yield time, frame

    return frames_from(container, stream, decoded, start) if start > _SEEK_FROM else decoded()


def rgb(frame: av.VideoFrame) -> np.ndarray:
    """uint8 [H, W, 3] by the colour matrix that the frame names, or by the one that players assume.

    HDR is tone mapped; transparent places show black.
    """
    if frame.color_trc in CURVES:
        assumed = Colorspace.BT2020 if frame.colorspace == _UNSPECIFIED else None
        return tone_mapped(frame.reformat(format="rgb48le", src_colorspace=assumed).to_ndarray(), frame.color_trc)
    if any(component.is_alpha for component in frame.format.components):
        return _over_black(frame)
    assumed = Colorspace.ITU709 if frame.colorspace == _UNSPECIFIED and frame.height >= _HD and frame.format.name.startswith("yuv") else None
    return frame.reformat(format="rgb24", src_colorspace=assumed).to_ndarray()


def _over_black(frame: av.VideoFrame) -> np.ndarray:
    rgba = frame.reformat(format="rgba").to_ndarray()
    return (rgba[..., :3].astype(np.uint16) * rgba[..., 3:] // 255).astype(np.uint8)


def _picture(frame: av.VideoFrame, turn: int, size: tuple[int, int] | None, centre: tuple[float, float]) -> np.ndarray:
    image = Image.fromarray(rgb(frame))
    if turn:
        image = image.rotate(turn, expand=True)
    return np.asarray(cover(image, size, centre) if size else image)


def _nearest(frames: Iterator[tuple[float, av.VideoFrame]], wanted: list[float], step: float) -> Iterator[tuple[int, av.VideoFrame]]:
    """(how many of ``wanted``, frame): the wanted times in order, each given to the frame nearest in time.

    Args:
        step: seconds that the last frame is shown.
    """
    given, previous = 0, None
    for time, frame in frames:
        if previous is not None:
            # Every wanted time before the middle between two frames belongs to the earlier one.
            middle, first = (previous[0] + time) / 2, given
            while given < len(wanted) and wanted[given] < middle:
                given += 1
            if given > first:
                yield given - first, previous[1]
        previous = (time, frame)
        if given == len(wanted):
            return
    if previous is not None:
        rest = sum(w < previous[0] + step for w in wanted[given:])
        if rest:
            yield rest, previous[1]


def decode_video(
    path: str | os.PathLike,
    *,
    frame_rate: float,
    num_frames: int,
    start: float = 0.0,
    size: tuple[int, int] | None = None,
    centre: tuple[float, float] = (0.5, 0.5),
) -> Tensor:
    """Frames at ``start + i / frame_rate`` seconds: at each time the frame that is nearest by its own time stamp.

    Args:
        size: (width, height) to cover; the file's own size when None.
        centre: which part is kept when the proportions differ, (0..1, 0..1).

    Returns:
        uint8 [num_frames, H, W, 3].

    Raises:
        LTX2Error: unreadable, or shorter than asked for.
    """
    path = Path(path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return load_image(path, size, centre).expand(num_frames, -1, -1, -1)
    wanted = [start + i / frame_rate for i in range(num_frames)]
    chosen: list[np.ndarray] = []
    with opened(path) as container:
        stream = picture_stream(container)
        if stream is None:
            raise LTX2Error(f"{path.name} has no picture; choose a video.")
        shown = 1 / float(stream.average_rate or frame_rate) + _TOLERANCE / frame_rate
        for times, frame in _nearest(timed_frames(container, stream, start), wanted, shown):
            chosen += [_picture(frame, rotation(stream, frame), size, centre)] * times
    if len(chosen) < num_frames:
        raise LTX2Error(
            f"{path.name} gives {len(chosen)} frames at {frame_rate:g} frames a second from {start:g} s, but {num_frames} are needed; "
            "it is too short or breaks off: use fewer frames, or another file."
        )
    if len({p.shape for p in chosen}) > 1:
        raise LTX2Error(f"{path.name} changes its picture size while it plays; re-encode it at one size.")
    return torch.from_numpy(np.stack(chosen))
