"""Looks at every file of a folder once and says what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import LTX2Error
from ..media.probe import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES, probe
from ..protocols import Progress, Reporter
from .buckets import Bucket, Plan, choose_bucket, plan
from .captions import caption_of
from .spec import DatasetSpec


@dataclass(frozen=True)
class Clip:
    """A piece of a file that becomes one sample. ``frame_rate`` is the rate it is trained at, times in seconds."""

    path: str
    caption: str
    bucket: Bucket
    start: float
    frame_rate: float
    has_audio: bool
    duration: float


@dataclass(frozen=True)
class Dropped:
    path: str
    reason: str


@dataclass(frozen=True)
class DatasetIndex:
    """What a folder holds: the clips, what was left out and why, and sentences for the person."""

    spec: DatasetSpec
    clips: tuple[Clip, ...]
    dropped: tuple[Dropped, ...]
    messages: tuple[str, ...]


def media_files(spec: DatasetSpec) -> list[Path]:
    """Videos and images of the folder, by name.

    Raises:
        LTX2Error: the folder is not there or has none.
    """
    folder = Path(spec.folder).expanduser()
    if not folder.is_dir():
        raise LTX2Error(f"There is no folder {folder}; give the folder that holds the clips.")
    found = sorted(p for p in folder.glob("**/*" if spec.recursive else "*") if p.suffix.lower() in VIDEO_SUFFIXES + IMAGE_SUFFIXES and p.is_file())
    if not found:
        hint = " (it has sound files only)" if any(p.suffix.lower() in AUDIO_SUFFIXES for p in folder.iterdir()) else ""
        raise LTX2Error(f"No clips were found in {folder}{hint}; put video files ({', '.join(VIDEO_SUFFIXES[:4])} …) or images there.")
    return found


def _clip(path: Path, spec: DatasetSpec, planned: Plan) -> Clip:
    caption = caption_of(path, spec)
    info = probe(path)
    if not info.has_video:
        raise LTX2Error("has no picture")
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    bucket = choose_bucket(spec, planned, info.width, info.height, info.duration, is_image)
    return Clip(str(path), caption, bucket, 0.0, spec.frame_rate, spec.audio and info.has_audio and not is_image, info.duration)


def scan(spec: DatasetSpec, reporter: Reporter | None = None) -> DatasetIndex:
    """Every usable clip of the folder, in the order of their names.

    Raises:
        LTX2Error: no clip is usable; says how many were dropped and the first reason.
    """
    planned = plan(spec)
    files, clips, dropped = media_files(spec), [], []
    for done, path in enumerate(files):
        try:
            clips.append(_clip(path, spec, planned))
        except LTX2Error as error:
            dropped.append(Dropped(str(path), str(error)))
        if reporter:
            reporter.progress(Progress("scan", done + 1, len(files), path.name))
    messages = [*planned.messages, *(_sentence(d) for d in dropped)]
    if not clips:
        raise LTX2Error(f"None of the {len(files)} clips in {spec.folder} can be used; the first: {_sentence(dropped[0])}")
    if reporter:
        for message in messages:
            reporter.message(message, "warning")
    return DatasetIndex(spec, tuple(clips), tuple(dropped), tuple(messages))


def _sentence(dropped: Dropped) -> str:
    name = Path(dropped.path).name
    return dropped.reason if name in dropped.reason else f"{name} is left out: it {dropped.reason.rstrip('.')}."
