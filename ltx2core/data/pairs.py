"""Sounds of another folder that belong to clips of the same stem."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import LTX2Error
from ..media.probe import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from .files import walk
from .spec import DatasetSpec

_NAMED = 5  # names said in one sentence; more are counted


@dataclass(frozen=True)
class Pairs:
    """``partners``: clip -> sound file. ``messages`` say what found no partner, on both sides."""

    partners: dict[Path, Path]
    messages: tuple[str, ...]


def listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def pair_sounds(spec: DatasetSpec, clips: list[Path]) -> Pairs:
    """Partners by stem; where folders are searched inside, the same folder inside is preferred.

    Raises:
        LTX2Error: no such folder, no sounds there, or two sounds with one stem.
    """
    folder, root = Path(spec.sound_folder).expanduser(), Path(spec.folder).expanduser()
    if not folder.is_dir():
        raise LTX2Error(f"There is no folder {folder}; give the folder of sounds in sound_folder, or leave it empty.")
    sounds: dict[str, Path] = {}
    for path in sorted(p for p in walk(folder, spec.recursive) if p.suffix.lower() in AUDIO_SUFFIXES + VIDEO_SUFFIXES):
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in sounds:
            raise LTX2Error(f"{path.name} and {sounds[key].name} in {folder} have one stem; keep one of them.")
        sounds[key] = path
    if not sounds:
        raise LTX2Error(f"No sounds were found in {folder}; put files there named like the clips, or leave sound_folder empty.")
    by_stem: dict[str, list[Path]] = {}
    for path in sounds.values():
        by_stem.setdefault(path.stem, []).append(path)
    partners, alone = {}, []
    for clip in clips:
        same = sounds.get(clip.relative_to(root).with_suffix("").as_posix())
        choices = [same] if same else by_stem.get(clip.stem, [])
        if len(choices) == 1:
            partners[clip] = choices[0]
        else:
            alone.append(clip.name)
    unused = [p.name for p in sounds.values() if p not in set(partners.values())]
    messages = []
    if alone:
        messages.append(f"{len(alone)} clips found no sound of their name in {folder} and are trained as picture only: {listed(alone)}.")
    if unused:
        messages.append(f"{len(unused)} sounds in {folder} found no clip of their name: {listed(unused)}.")
    return Pairs(partners, tuple(messages))
