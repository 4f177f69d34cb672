"""Masks: how much each place of a clip counts in the loss, read as the clip itself is read and brought to its latent cells."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import LTX2Error
from ..geometry import LTX2_COMPRESSION, latent_frames
from ..media.probe import IMAGE_SUFFIXES, MediaInfo
from ..media.video import decode_video
from .clip import Clip

_CELL, _GROUP = LTX2_COMPRESSION.space, LTX2_COMPRESSION.time
_SAME_PROPORTIONS = 0.02  # share by which width / height may differ, for sides that were rounded
_SAME_END = 0.5  # frames that a film may end before its last wanted one, as in reading a clip
_HALF = 0.5


def check_mask(mask: MediaInfo, clip: MediaInfo) -> None:
    """Whether ``mask`` lies over ``clip`` place by place, in any size.

    Raises:
        LTX2Error: it shows nothing, or its proportions are others; the message is the reason.
    """
    if not mask.has_video:
        raise LTX2Error("it has no picture")
    if abs(mask.width * clip.height / (mask.height * clip.width) - 1) > _SAME_PROPORTIONS:
        raise LTX2Error(f"it is {mask.width}x{mask.height} and the clip {clip.width}x{clip.height}; masks need the clip's proportions")


def covers(mask: MediaInfo, start: float, frames: int, frame_rate: float) -> bool:
    """Whether the mask lasts as long as a window of ``frames`` from ``start`` seconds on; a picture always does."""
    return mask.path.suffix.lower() in IMAGE_SUFFIXES or start + (frames - 1 - _SAME_END) / frame_rate < mask.duration


def cell_means(pictures: Tensor) -> Tensor:
    """Mean brightness 0..1 of each latent cell: [H/32, W/32] of uint8 [F, H, W, 3], over all its frames and channels."""
    frames, height, width, channels = pictures.shape
    cells = pictures.reshape(frames, height // _CELL, _CELL, width // _CELL, _CELL, channels)
    return cells.to(torch.int64).sum((0, 2, 4, 5)).float() / (frames * _CELL * _CELL * channels * 255)


def read_mask(clip: Clip, binary: bool) -> Tensor:
    """float32 [F', H', W'] on the clip's latent grid, 0..1, of the clip's size, crop and piece.

    Frames are grouped as the VAE does: the first alone, then eight by eight. ``binary``: 1 from one half on, else 0.

    Raises:
        LTX2Error: the mask cannot be read, or is shorter than it was when the folder was scanned.
    """
    box, still = clip.bucket, Path(clip.mask).suffix.lower() in IMAGE_SUFFIXES
    pictures = decode_video(
        clip.mask, frame_rate=clip.frame_rate, num_frames=1 if still else box.frames, start=clip.start, size=(box.width, box.height), centre=clip.centre,
    )  # fmt: skip
    groups = [pictures[:1], *pictures[1:].split(_GROUP)] if len(pictures) > 1 else [pictures]
    weights = torch.stack([cell_means(group) for group in groups]).expand(latent_frames(box.frames), -1, -1)
    return (weights >= _HALF).float() if binary else weights.contiguous()


def mask_facts(clip: Clip, mask_type: str) -> dict[str, object]:
    """What a cache key must hold beside the mask's own content."""
    box = clip.bucket
    return {"size": [box.width, box.height, box.frames], "start": round(clip.start, 6), "frame_rate": round(clip.frame_rate, 6), "centre": list(clip.centre), "type": mask_type}
