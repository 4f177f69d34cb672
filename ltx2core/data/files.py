"""Which files of a folder are meant."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import LTX2Error
from ..media.probe import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES
from .spec import DatasetSpec

SUFFIXES = {
    "auto": VIDEO_SUFFIXES + IMAGE_SUFFIXES, "video": VIDEO_SUFFIXES, "image": IMAGE_SUFFIXES, "audio": AUDIO_SUFFIXES + VIDEO_SUFFIXES,
}  # fmt: skip
_KINDS = {"auto": "clips", "video": "videos", "image": "pictures", "audio": "sounds"}


def walk(folder: Path, recursive: bool) -> Iterator[Path]:
    """Files, links followed, each real folder once, so that a loop of links ends; names that begin with a dot are not shown."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen or not recursive:
            folders.clear()
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if real not in seen:
            seen.add(real)
            yield from (Path(place) / name for name in names if not name.startswith("."))


def _hint(files: list[Path], spec: DatasetSpec) -> str:
    """What the folder holds instead."""
    for kind in ("video", "image", "audio"):
        if any(p.suffix.lower() in SUFFIXES[kind] for p in files):
            return f" (it has {_KINDS[kind]}; set dataset_type to {kind})"
    if not spec.recursive and any(p.is_dir() for p in Path(spec.folder).expanduser().iterdir()):
        return " (it has folders inside; set recursive to look there)"
    return ""


def media_files(spec: DatasetSpec) -> list[Path]:
    """The files of the dataset's type, by name; masks that lie in a folder inside are none.

    Raises:
        LTX2Error: the folder is not there or has none.
    """
    folder = Path(spec.folder).expanduser()
    if not folder.is_dir():
        raise LTX2Error(f"There is no folder {folder}; give the folder that holds the clips.")
    files, masks = list(walk(folder, spec.recursive)), Path(spec.mask_folder).expanduser().resolve() if spec.mask_folder else None
    if masks is not None and masks != folder.resolve():
        files = [p for p in files if masks not in p.resolve().parents]
    suffixes = SUFFIXES[spec.dataset_type]
    found = sorted(p for p in files if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        endings = ", ".join(suffixes[:4])
        raise LTX2Error(f"No {_KINDS[spec.dataset_type]} were found in {folder}{_hint(files, spec)}; put files there that end in {endings} …")
    return found
