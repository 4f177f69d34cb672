"""From one file to its samples: which windows, at what size, with which sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import LTX2Error
from ..geometry import LTX2_COMPRESSION
from ..media.probe import IMAGE_SUFFIXES, MediaInfo
from .buckets import Plan, available_frames, frames_of, size_of, sound_frames
from .clip import CENTRE, Clip, bucket
from .masks import covers
from .seeds import drawer
from .spec import DatasetSpec
from .windows import segments, window_starts

_CELL = LTX2_COMPRESSION.space
# A window whose sound covers less of it is trained as picture only: its silence would be learned as sound.
_COVERED = 0.5


@dataclass(frozen=True)
class Source:
    """One file as it was found. name: inside the folder. sound: the file that the sound comes from, and what it holds; mask likewise."""

    path: Path
    name: str
    info: MediaInfo
    captions: tuple[str, ...]
    sound: MediaInfo | None = None
    cuts: Callable[[], tuple[float, ...]] = tuple
    mask: MediaInfo | None = None


def _centre(spec: DatasetSpec, source: Source, start: float) -> tuple[float, float]:
    if spec.crop == "center":
        return CENTRE
    if spec.crop == "corner":
        return 0.0, 0.0
    draw = drawer(spec.seed, "crop", source.name, f"{start:.6f}")
    return round(draw.random(), 4), round(draw.random(), 4)


def _has_sound(spec: DatasetSpec, source: Source, start: float, seconds: float) -> bool:
    found = source.sound
    if not spec.audio or found is None or not found.has_audio:
        return False
    covered = min(start + seconds, found.audio_to) - max(start, found.audio_from)
    # Where silence is meant, zeros behind a short sound are too.
    return covered > 0 and (spec.allow_zero_audio or covered >= _COVERED * seconds)


def _mask(spec: DatasetSpec, source: Source, start: float, frames: int) -> str:
    """The mask's file; empty where there is none, or it ends before the window does."""
    return str(source.mask.path) if source.mask is not None and covers(source.mask, start, frames, spec.frame_rate) else ""


def _starts(
    spec: DatasetSpec, source: Source, length_of: Callable[[int], int], parts: tuple[tuple[float, float], ...]
) -> list[tuple[float, int]]:
    """(start, frames) of every window in ``parts``; a part that is too short gives none, and all too short is an error."""
    found, reason = [], None
    for number, (begin, end) in enumerate(parts):
        available = available_frames(end - begin, spec.frame_rate)
        try:
            length = length_of(available)
        except LTX2Error as error:
            reason = reason or error
            continue
        draw = drawer(spec.seed, "windows", source.name, number)
        starts = window_starts(spec.windows, available, min(length, available), spec.windows_per_clip, draw)
        found += [(begin + s / spec.frame_rate, length) for s in starts]
        if spec.windows == "first":
            break
    if not found and reason is not None:
        raise reason
    return found[-1:] if spec.windows == "last" else found


def _videos(spec: DatasetSpec, planned: Plan, source: Source) -> list[Clip]:
    info = source.info
    width, height = size_of(spec, planned, info.width, info.height)
    if source.path.suffix.lower() in IMAGE_SUFFIXES:
        box, centre = bucket(width, height, 1), _centre(spec, source, 0.0)
        mask = _mask(spec, source, 0.0, 1)
        return [Clip(str(source.path), c, box, 0.0, spec.frame_rate, False, 0.0, centre, mask=mask) for c in source.captions]
    parts = segments(info.duration, source.cuts()) if spec.split_scenes else ((0.0, info.duration),)
    clips = []
    for start, frames in _starts(spec, source, lambda available: frames_of(spec, planned, available), parts):
        box = bucket(width, height, frames)
        sound = _has_sound(spec, source, start, frames / spec.frame_rate)
        silence = spec.audio and spec.allow_zero_audio and not sound
        other = str(source.sound.path) if sound and source.sound is not info else ""
        centre, mask = _centre(spec, source, start), _mask(spec, source, start, frames)
        clips += [
            Clip(str(source.path), c, box, start, spec.frame_rate, sound or silence, info.duration, centre, other, silence=silence, mask=mask)
            for c in source.captions
        ]
    return clips


def _sounds(spec: DatasetSpec, source: Source) -> list[Clip]:
    info = source.info
    if not info.has_audio:
        raise LTX2Error("has no sound")
    length = sound_frames(spec, info.audio_to - max(0.0, info.audio_from))
    parts = ((max(0.0, info.audio_from), info.audio_to),)
    return [
        Clip(str(source.path), c, bucket(_CELL, _CELL, frames), start, spec.frame_rate, True, info.duration, has_video=False)
        for start, frames in _starts(spec, source, lambda available: length, parts)
        for c in source.captions
    ]


def clips_of(spec: DatasetSpec, planned: Plan, source: Source) -> list[Clip]:
    """The samples of one file.

    Raises:
        LTX2Error: it gives none; the message is the reason.
    """
    if spec.dataset_type == "audio":
        return _sounds(spec, source)
    if not source.info.has_video:
        raise LTX2Error("has no picture")
    return _videos(spec, planned, source)
