"""Which size and length a clip is trained at: pure functions of its own and of what was asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import LTX2Error
from ..geometry import LTX2_COMPRESSION, snap_frames, snap_size
from .spec import DatasetSpec

_MULTIPLE = LTX2_COMPRESSION.space


@dataclass(frozen=True)
class Bucket:
    """Pixels and frames that the VAE takes; all clips of one bucket have equal tensors."""

    width: int
    height: int
    frames: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}@{self.frames}"


def size_for(width: int, height: int, source_width: int, source_height: int) -> tuple[int, int]:
    """Sides, multiples of 32, of about ``width * height`` pixels in the proportions of the source.

    Of the two multiples around each ideal side, the pair whose proportions are nearest the source's is taken, and of
    equals the one nearest the area.
    """
    area, aspect = width * height, source_width / source_height
    ideal = math.sqrt(area * aspect), math.sqrt(area / aspect)
    choices = [
        (max(1, math.floor(w / _MULTIPLE) + i) * _MULTIPLE, max(1, math.floor(h / _MULTIPLE) + j) * _MULTIPLE)
        for w, h in [ideal]
        for i in (0, 1)
        for j in (0, 1)
    ]
    # A pair above the area asked for by more than a tenth would break a memory plan made for that area.
    fitting = [c for c in choices if c[0] * c[1] <= area * 1.1] or [min(choices, key=lambda c: c[0] * c[1])]
    return min(fitting, key=lambda c: (abs(math.log(c[0] / c[1] / aspect)) + 0.5 * abs(math.log(c[0] * c[1] / area)), c))


@dataclass(frozen=True)
class Plan:
    """The sizes asked for, snapped, and the sentences that say so."""

    width: int
    height: int
    frames: int
    messages: tuple[str, ...]


def plan(spec: DatasetSpec) -> Plan:
    """Raises LTX2Error when a side or the frames would become 0."""
    width, height, size_message = snap_size(spec.width, spec.height)
    frames = snap_frames(spec.frames)
    return Plan(width, height, frames.value, tuple(m for m in (size_message, frames.message) if m))


def choose_bucket(spec: DatasetSpec, planned: Plan, source_width: int, source_height: int, duration: float, is_image: bool = False) -> Bucket:
    """The bucket of one clip.

    Raises:
        LTX2Error: too short for ``min_frames``.
    """
    width, height = planned.width, planned.height
    if spec.bucket_strategy == "aspect_ratio":
        width, height = size_for(width, height, source_width, source_height)
    if is_image:
        return Bucket(width, height, 1)
    # Frames at the training rate whose times lie inside the clip; a hair is added for durations like 1.9999 s.
    available = max(1, math.floor(duration * spec.frame_rate + 1e-3))
    frames = min(planned.frames, snap_frames(available).value)
    if available < spec.min_frames:
        raise LTX2Error(f"has {available} frames at {spec.frame_rate:g} frames a second; min_frames is {spec.min_frames}")
    return Bucket(width, height, frames)
