"""Frames at the times that a frame rate asks for, whatever the file's own rate is."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import LTX2Error
from .probe import IMAGE_SUFFIXES, opened, rotation

# A frame may start this much (in frames of the wanted rate) after its wanted time and still be the nearest one;
# it absorbs the rounding of time bases.
_TOLERANCE = 0.5
_SEEK_FROM = 2.0  # seconds; below this, decoding from the beginning is as fast as a seek


def cover(image: Image.Image, size: tuple[int, int], centre: tuple[float, float] = (0.5, 0.5)) -> Image.Image:
    """Resized (antialiased) and cropped to ``size`` = (width, height) without changing proportions."""
    return ImageOps.fit(image, size, method=Image.Resampling.LANCZOS, centering=centre)


def _picture(frame: av.VideoFrame, turn: int, size: tuple[int, int] | None, centre: tuple[float, float]) -> np.ndarray:
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    if turn:
        image = image.rotate(turn, expand=True)
    return np.asarray(cover(image, size, centre) if size else image)


def load_image(path: str | os.PathLike, size: tuple[int, int] | None = None, centre: tuple[float, float] = (0.5, 0.5)) -> Tensor:
    """uint8 [1, H, W, 3]; alpha is dropped over black, the camera's orientation applied.

    Raises:
        LTX2Error: not a picture.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, ValueError) as error:
        raise LTX2Error(f"{Path(path).name} is no picture that can be read ({error}); save it again as PNG or JPEG.") from error
    return torch.from_numpy(np.array(cover(image, size, centre) if size else image))[None]


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
        if not container.streams.video:
            raise LTX2Error(f"{path.name} has no picture; choose a video.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        origin = float((stream.start_time or 0) * stream.time_base)
        if start > _SEEK_FROM:
            container.seek(int((start + origin) / stream.time_base), stream=stream)
        previous: tuple[float, av.VideoFrame] | None = None
        step = 1 / float(stream.average_rate or frame_rate)
        for frame in container.decode(stream):
            if frame.pts is None:
                continue
            time = float(frame.pts * stream.time_base) - origin
            # Every wanted time before the middle between two frames belongs to the earlier one.
            while previous is not None and len(chosen) < num_frames and wanted[len(chosen)] < (previous[0] + time) / 2:
                chosen.append(_picture(previous[1], rotation(stream, previous[1]), size, centre))
            previous = (time, frame)
            if len(chosen) == num_frames:
                break
        while previous is not None and len(chosen) < num_frames and wanted[len(chosen)] < previous[0] + step + _TOLERANCE / frame_rate:
            chosen.append(_picture(previous[1], rotation(stream, previous[1]), size, centre))
    if len(chosen) < num_frames:
        raise LTX2Error(
            f"{path.name} gives {len(chosen)} frames at {frame_rate:g} frames a second from {start:g} s, but {num_frames} are needed; "
            "use fewer frames or a longer clip."
        )
    return torch.from_numpy(np.stack(chosen))
