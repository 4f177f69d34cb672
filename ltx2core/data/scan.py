"""Looks at every file of a folder once and says what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import LTX2Error
from ..media.probe import IMAGE_SUFFIXES, MediaInfo
from ..media.scenes import cut_points
from ..protocols import Progress, Reporter
from .buckets import Plan, plan
from .captions import open_captions
from .clip import Clip
from .files import Dropped, found_files, media_files, shown
from .masks import check_mask
from .memory import Found, ScanMemory
from .pairs import MASK, SOUND, Pairs, listed, pair
from .seeds import drawer
from .select import Source, clips_of
from .spec import DatasetSpec

__all__ = ["Clip", "DatasetIndex", "Dropped", "media_files", "scan"]


@dataclass(frozen=True)
class DatasetIndex:
    """What a folder holds: the clips, what was left out and why, and sentences for the person; unpaired: those of them on the
    folder of other sounds.
    """

    spec: DatasetSpec
    clips: tuple[Clip, ...]
    dropped: tuple[Dropped, ...]
    messages: tuple[str, ...]
    unpaired: tuple[str, ...]


@dataclass(frozen=True)
class _Look:
    """The files of a scan that have captions, and what was found in them. masked: clips with a usable mask; unmasked: sentences on the others."""

    captions: dict[Path, tuple[str, ...]]
    dropped: list[Dropped]
    found: dict[Path, Found]
    pairs: Pairs
    masks: Pairs
    masked: set[Path]
    unmasked: list[str]


def _captioned(spec: DatasetSpec, files: list[Path]) -> tuple[dict[Path, tuple[str, ...]], list[Dropped]]:
    source, captions, dropped = open_captions(spec), {}, []
    for path in files:
        try:
            str(path).encode("utf-8")
            captions[path] = source(path)
        except UnicodeEncodeError:
            dropped.append(Dropped(shown(str(path)), "has a name that is not UTF-8 text; rename it"))
        except LTX2Error as error:
            dropped.append(Dropped(str(path), str(error)))
    return captions, dropped


def _look(spec: DatasetSpec, files: list[Path], memory: ScanMemory, reporter: Reporter | None) -> _Look:
    captions, dropped = _captioned(spec, files)
    videos = [p for p in captions if p.suffix.lower() not in IMAGE_SUFFIXES]
    pairs = pair(spec, videos, SOUND) if spec.sound_folder and spec.audio else Pairs({}, ())
    masks = pair(spec, list(captions), MASK) if spec.mask_folder else Pairs({}, ())
    paths = list(dict.fromkeys([*captions, *pairs.partners.values(), *masks.partners.values()]))

    def progress(done: int) -> None:
        if reporter:
            reporter.progress(Progress("scan", done, len(paths), paths[done - 1].name))

    return _Look(captions, dropped, dict(zip(paths, memory.probe_all(paths, progress), strict=True)), pairs, masks, set(), [])


def _sound(spec: DatasetSpec, path: Path, info: MediaInfo, look: _Look) -> MediaInfo | None:
    """What the clip's sound is taken from.

    Raises:
        LTX2Error: the partner can't be read or has no sound.
    """
    if not spec.sound_folder:
        return info
    partner = look.pairs.partners.get(path)
    if partner is None:
        return None
    found = look.found[partner]
    if found.info is None or not found.info.has_audio:
        raise LTX2Error(f"has a sound file that cannot be used: {found.reason or f'{partner.name} has no sound.'}")
    return found.info


def _mask(path: Path, info: MediaInfo, look: _Look) -> MediaInfo | None:
    """What the clip's loss is weighed by; one that cannot be used is named, and the clip is trained without it."""
    partner = look.masks.partners.get(path)
    if partner is None:
        return None
    found = look.found[partner]
    try:
        if found.info is None:
            raise LTX2Error(found.reason.rstrip("."))
        check_mask(found.info, info)
    except LTX2Error as error:
        look.unmasked.append(f"The mask {partner.name} cannot be used: {error}. {path.name} is trained without it.")
        return None
    look.masked.add(path)
    return found.info


def _sounds(spec: DatasetSpec, look: _Look, path: Path) -> bool:
    """Whether there is a file that gives the clip's sound, and it has any."""
    giver = look.pairs.partners.get(path) if spec.sound_folder else path
    info = None if giver is None else look.found[giver].info
    return info is not None and info.has_audio


def _select(spec: DatasetSpec, planned: Plan, look: _Look, memory: ScanMemory) -> tuple[list[Clip], list[Dropped]]:
    folder, clips, dropped = Path(spec.folder).expanduser(), [], []
    for path, captions in look.captions.items():
        found = look.found[path]
        try:
            if found.info is None:
                raise LTX2Error(found.reason)
            measure = partial(cut_points, path, spec.scene_threshold)
            cuts = partial(memory.numbers, path, f"cuts:{spec.scene_threshold:g}", measure)
            source = Source(path, path.relative_to(folder).as_posix(), found.info, captions, _sound(spec, path, found.info, look), cuts, _mask(path, found.info, look))
            clips += clips_of(spec, planned, source)
        except LTX2Error as error:
            dropped.append(Dropped(str(path), str(error)))
    return clips, dropped


def _thinned(spec: DatasetSpec, clips: list[Clip]) -> list[Clip]:
    if not spec.max_samples or len(clips) <= spec.max_samples:
        return clips
    kept = drawer(spec.seed, "samples", len(clips)).sample(range(len(clips)), spec.max_samples)
    return [clips[i] for i in sorted(kept)]


def _messages(spec: DatasetSpec, planned: Plan, look: _Look, clips: list[Clip], total: int) -> list[str]:
    messages = [*planned.messages, *look.pairs.messages, *look.masks.messages, *look.unmasked]
    short = sorted({Path(c.path).name for c in clips if Path(c.path) in look.masked and not c.mask})
    if short:
        messages.append(f"{len(short)} clips have samples that end behind their mask's end and are trained without it: {listed(short)}.")
    silent = sorted({Path(c.path).name for c in clips if c.silence})
    if silent:
        messages.append(f"{len(silent)} clips without sound are trained as silence (allow_zero_audio): {listed(silent)}.")
    short = sorted({Path(c.path).name for c in clips if spec.audio and c.has_video and not c.has_audio and _sounds(spec, look, Path(c.path))})
    if short:
        messages.append(f"{len(short)} clips have no sound in most of what is taken of them and are trained as picture only: {listed(short)}.")
    hdr = sorted(p.name for p, found in look.found.items() if found.info is not None and found.info.hdr)
    if hdr:
        messages.append(f"HDR is tone mapped to a plain screen's brightness: {listed(hdr)}.")
    if len(clips) < total:
        messages.append(f"{len(clips)} of {total} samples are taken (max_samples).")
    return messages


def scan(spec: DatasetSpec, reporter: Reporter | None = None, memory: Path | None = None) -> DatasetIndex:
    """Every usable clip of the folder, in the order of their names.

    Args:
        memory: a file that remembers what was found, so that the next scan opens changed files alone.

    Raises:
        LTX2Error: no clip is usable; says how many were dropped and the first reason.
    """
    planned, (files, lost) = plan(spec), found_files(spec)
    with ScanMemory(memory) as remembered:
        look = _look(spec, files, remembered, reporter)
        every, unusable = _select(spec, planned, look, remembered)
    order = {str(path): i for i, path in enumerate(files)}
    dropped = sorted([*look.dropped, *unusable, *lost], key=lambda d: order.get(d.path, len(order)))
    if not every:
        raise LTX2Error(f"None of the {len(files)} clips in {spec.folder} can be used; the first: {_sentence(dropped[0])}")
    clips = _thinned(spec, every)
    messages = [*_messages(spec, planned, look, clips, len(every)), *(_sentence(d) for d in dropped)]
    if reporter:
        for message in messages:
            reporter.message(message, "warning")
    return DatasetIndex(spec, tuple(clips), tuple(dropped), tuple(messages), look.pairs.messages)


def _sentence(dropped: Dropped) -> str:
    """The reason as a whole sentence; a reader's own one names the file already."""
    name = Path(dropped.path).name
    return dropped.reason if dropped.reason.startswith((name, "There is no file")) else f"{name} is left out: it {dropped.reason.rstrip('.')}."
