"""Which size and length a clip is trained at: pure functions of its own and of what was asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import LTX2Error
from ..geometry import LTX2_COMPRESSION, snap_frames, snap_size
from .clip import Bucket, bucket
from .spec import DatasetSpec

_MULTIPLE = LTX2_COMPRESSION.space
# Added before rounding down, for lengths like 1.9999 s.
_HAIR = 1e-3


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
    if spec.dataset_type == "audio":
        return Plan(_MULTIPLE, _MULTIPLE, frames.value, ())
    return Plan(width, height, frames.value, tuple(m for m in (size_message, frames.message) if m))


def available_frames(seconds: float, frame_rate: float) -> int:
    """Frames at ``frame_rate`` whose times lie inside ``seconds``; at least 1."""
    return max(1, math.floor(seconds * frame_rate + _HAIR))


def size_of(spec: DatasetSpec, planned: Plan, source_width: int, source_height: int) -> tuple[int, int]:
    """The sides that a clip is trained at.

    Raises:
        LTX2Error: too small or of proportions that ``spec`` leaves out; the message is the reason.
    """
    aspect = source_width / source_height
    if spec.min_side and min(source_width, source_height) < spec.min_side:
        raise LTX2Error(f"is {source_width}x{source_height}; min_side is {spec.min_side}")
    if aspect < spec.min_aspect_ratio:
        raise LTX2Error(f"is {source_width}x{source_height}, {aspect:.2f} wide to high; min_aspect_ratio is {spec.min_aspect_ratio:g}")
    if spec.max_aspect_ratio and aspect > spec.max_aspect_ratio:
        raise LTX2Error(f"is {source_width}x{source_height}, {aspect:.2f} wide to high; max_aspect_ratio is {spec.max_aspect_ratio:g}")
    if spec.bucket_strategy == "fixed":
        return planned.width, planned.height
    return size_for(planned.width, planned.height, source_width, source_height)


def frames_of(spec: DatasetSpec, planned: Plan, available: int) -> int:
    """Frames, 8k+1, of the windows of a clip that has ``available`` frames at the training rate.

    Raises:
        LTX2Error: shorter than ``min_frames`` or longer than ``max_frames``; the message is the reason.
    """
    if available < spec.min_frames:
        raise LTX2Error(f"has {available} frames at {spec.frame_rate:g} frames a second; min_frames is {spec.min_frames}")
    if spec.max_frames and available > spec.max_frames:
        raise LTX2Error(f"has {available} frames at {spec.frame_rate:g} frames a second; max_frames is {spec.max_frames}")
    if spec.frame_interval:
        available = available // spec.frame_interval * spec.frame_interval or available
    return min(planned.frames, snap_frames(available).value)


def sound_frames(spec: DatasetSpec, seconds: float) -> int:
    """Frames, 8k+1, that last as long as a window of an audio dataset's sound of ``seconds``.

    Raises:
        LTX2Error: shorter than ``min_seconds`` or longer than ``max_seconds``; the message is the reason.
    """
    if seconds < spec.min_seconds:
        raise LTX2Error(f"lasts {seconds:.2f} s; min_seconds is {spec.min_seconds:g}")
    if spec.max_seconds and seconds > spec.max_seconds:
        raise LTX2Error(f"lasts {seconds:.2f} s; max_seconds is {spec.max_seconds:g}")
    wanted = min(seconds, spec.window_seconds or seconds)
    wanted = math.floor(wanted / spec.duration_interval + _HAIR) * spec.duration_interval or wanted
    available = available_frames(wanted, spec.frame_rate)
    if available < spec.min_frames:
        raise LTX2Error(f"lasts {seconds:.2f} s, {available} frames at {spec.frame_rate:g} frames a second; min_frames is {spec.min_frames}")
    return snap_frames(available).value


def choose_bucket(spec: DatasetSpec, planned: Plan, source_width: int, source_height: int, duration: float, is_image: bool = False) -> Bucket:
    """The bucket of one clip with a picture.

    Raises:
        LTX2Error: ``spec`` leaves it out; the message is the reason.
    """
    width, height = size_of(spec, planned, source_width, source_height)
    if is_image:
        return bucket(width, height, 1)
    return bucket(width, height, frames_of(spec, planned, available_frames(duration, spec.frame_rate)))
