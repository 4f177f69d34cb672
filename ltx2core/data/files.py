"""Which files of a folder are meant."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import LTX2Error
from ..media.probe import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES
from .spec import DatasetSpec

SUFFIXES = {
    "auto": VIDEO_SUFFIXES + IMAGE_SUFFIXES, "video": VIDEO_SUFFIXES, "image": IMAGE_SUFFIXES, "audio": AUDIO_SUFFIXES + VIDEO_SUFFIXES,
}  # fmt: skip
# Pictures, films and sounds that are not read, and what a browser has not loaded whole; and what helps.
_OTHERS = {
    **dict.fromkeys((".heic", ".heif", ".avif", ".tif", ".tiff", ".jxl", ".jp2", ".jfif", ".dng", ".cr2", ".nef"), "picture"),
    **dict.fromkeys((".3gp", ".mxf", ".ogv", ".vob", ".divx", ".rm", ".braw", ".r3d"), "film"),
    **dict.fromkeys((".wma", ".aiff", ".aif", ".ac3", ".amr", ".caf", ".mka"), "sound"),
    **dict.fromkeys((".part", ".crdownload", ".download"), "part"),
}  # fmt: skip
_MEANT = {"auto": ("picture", "film", "part"), "video": ("film", "part"), "image": ("picture", "part"), "audio": ("sound", "film", "part")}  # by a dataset's type
_HELP = {
    "picture": "save it as PNG or JPEG", "film": "save it as MP4", "sound": "save it as WAV or FLAC",
    "part": "wait until it is complete, or take it out of the folder",
}  # fmt: skip
_KINDS = {"auto": "clips", "video": "videos", "image": "pictures", "audio": "sounds"}


def walk(folder: Path, recursive: bool, unreadable: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """Files, links followed, each real folder once, so that a loop of links ends; names that begin with a dot are not shown.

    Args:
        unreadable: is told of folders that cannot be listed.
    """
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
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


def shown(name: str) -> str:
    """A name that may hold bytes that are no UTF-8, as it can be written."""
    return name.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class Dropped:
    """A file that is left out."""

    path: str
    reason: str


def _no_file(path: Path) -> Dropped:
    if path.is_symlink():
        return Dropped(shown(str(path)), "is a link that leads to no file; mend it, or take it out of the folder")
    return Dropped(shown(str(path)), "is no file with content, but a pipe or a device; take it out of the folder")


def _closed(error: OSError) -> Dropped:
    return Dropped(shown(str(error.filename)), f"is a folder that cannot be read ({error.strerror}); check its permissions")


def _other(path: Path, kind: str) -> Dropped:
    return Dropped(shown(str(path)), f"has the ending {path.suffix}, which is not read; {_HELP[kind]}")


def found_files(spec: DatasetSpec) -> tuple[list[Path], list[Dropped]]:
    """The files of the dataset's type, by name, and what looks like one and cannot be read; masks that lie in a folder inside are neither.

    Raises:
        LTX2Error: the folder is not there or has no file.
    """
    folder = Path(spec.folder).expanduser()
    if not folder.is_dir():
        raise LTX2Error(f"There is no folder {folder}; give the folder that holds the clips.")
    closed: list[OSError] = []
    names, masks = list(walk(folder, spec.recursive, closed.append)), Path(spec.mask_folder).expanduser().resolve() if spec.mask_folder else None
    if masks is not None and masks != folder.resolve():
        names = [p for p in names if masks not in p.resolve().parents]
    suffixes, files, lost = SUFFIXES[spec.dataset_type], [], [_closed(error) for error in closed]
    for path in sorted(names):
        suffix = path.suffix.lower()
        if suffix in suffixes:
            if path.is_file():
                files.append(path)
            else:
                lost.append(_no_file(path))
        elif _OTHERS.get(suffix) in _MEANT[spec.dataset_type]:
            lost.append(_other(path, _OTHERS[suffix]))
    if not files:
        endings, hint = ", ".join(suffixes[:4]), f" ({Path(lost[0].path).name} {lost[0].reason.partition(';')[0]})" if lost else _hint(names, spec)
        raise LTX2Error(f"No {_KINDS[spec.dataset_type]} were found in {folder}{hint}; put files there that end in {endings} …")
    return files, lost


def media_files(spec: DatasetSpec) -> list[Path]:
    """The files of the dataset's type, by name. Raises LTX2Error as :func:`found_files`."""
    return found_files(spec)[0]
