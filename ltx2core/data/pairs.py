"""Sounds and masks of another folder that belong to clips of the same stem."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import LTX2Error
from ..media.probe import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES
from .files import walk
from .spec import DatasetSpec

_NAMED = 5  # names said in one sentence; more are counted


@dataclass(frozen=True)
class Partner:
    """What is looked for. option: of the dataset."""

    option: str
    suffixes: tuple[str, ...]


SOUND = Partner("sound_folder", AUDIO_SUFFIXES + VIDEO_SUFFIXES)
MASK = Partner("mask_folder", IMAGE_SUFFIXES + VIDEO_SUFFIXES)
_CALLED = {SOUND: "sounds", MASK: "masks"}


@dataclass(frozen=True)
class Pairs:
    """``partners``: clip -> its file there. ``messages`` say what found no partner, on both sides."""

    partners: dict[Path, Path]
    messages: tuple[str, ...]


def listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _files(folder: Path, kind: Partner, recursive: bool) -> dict[str, Path]:
    """Place inside ``folder``, without ending -> file."""
    if not folder.is_dir():
        raise LTX2Error(f"There is no folder {folder}; give the folder of {_CALLED[kind]} in {kind.option}, or leave it empty.")
    found: dict[str, Path] = {}
    for path in sorted(p for p in walk(folder, recursive) if p.suffix.lower() in kind.suffixes):
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in found:
            raise LTX2Error(f"{path.name} and {found[key].name} in {folder} have one stem; keep one of them.")
        found[key] = path
    if not found:
        raise LTX2Error(f"No {_CALLED[kind]} were found in {folder}; put files there named like the clips, or leave {kind.option} empty.")
    return found


def pair(spec: DatasetSpec, clips: list[Path], kind: Partner) -> Pairs:
    """Partners by stem; where folders are searched inside, the same folder inside is preferred.

    Raises:
        LTX2Error: no such folder, no such files there, or two with one stem.
    """
    folder, root = Path(getattr(spec, kind.option)).expanduser(), Path(spec.folder).expanduser()
    files = _files(folder, kind, spec.recursive)
    by_stem: dict[str, list[Path]] = {}
    for path in files.values():
        by_stem.setdefault(path.stem, []).append(path)
    partners, alone = {}, []
    for clip in clips:
        same = files.get(clip.relative_to(root).with_suffix("").as_posix())
        choices = [same] if same else by_stem.get(clip.stem, [])
        if len(choices) == 1:
            partners[clip] = choices[0]
        else:
            alone.append(clip.name)
    unused = [p.name for p in files.values() if p not in set(partners.values())]
    messages = []
    if alone:
        messages.append(
            f"{len(alone)} clips found no sound of their name in {folder} and are trained as picture only: {listed(alone)}." if kind is SOUND else
            f"{len(alone)} clips found no mask of their name in {folder} and are trained without one: {listed(alone)}."
        )  # fmt: skip
    if unused:
        messages.append(f"{len(unused)} {_CALLED[kind]} in {folder} found no clip of their name: {listed(unused)}.")
    return Pairs(partners, tuple(messages))
