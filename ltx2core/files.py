"""Writing files so that a reader sees the whole file or none."""

from __future__ import annotations

import errno
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from .errors import LTX2Error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``; when the block ends well it is flushed to disk and renamed over ``path``.

    Raises:
        LTX2Error: the disk is full; nothing that was there before is touched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with full_disk_said(path):
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def full_disk_said(path: Path) -> Iterator[None]:
    """Turns the system's errors of a full disk into one sentence.

    Raises:
        LTX2Error: the disk or the person's share of it is full.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if is_disk_full(error):
            raise LTX2Error(f"The disk is full: {path} could not be written; free some space and queue again, earlier files are untouched.") from error
        raise


_STALE = 24 * 3600.0  # seconds after which the writer of a half-written file is surely gone


def half_written(folder: Path, recursive: bool = False) -> list[Path]:
    """What killed processes left half-written in ``folder`` a day ago or earlier."""
    now, found = time.time(), []
    for path in (folder.rglob if recursive else folder.glob)(".*.tmp"):
        with suppress(OSError):  # another process may take it away meanwhile
            if path.is_file() and now - path.stat().st_mtime > _STALE:
                found.append(path)
    return found


def remove_stale(folder: Path) -> None:
    """Removes it."""
    for path in half_written(folder):
        with suppress(OSError):
            path.unlink()


# No space left, and a person's share used up.
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def is_disk_full(error: Exception) -> bool:
    """Whether ``error`` says so; safetensors puts the system's number into its text (28 and 122 on Linux, 112 on Windows)."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(f"os error {number})" in str(error) for number in (*_FULL, 112))


def sync(path: Path) -> None:
    """Force a file's bytes to disk."""
    with path.open("rb+") as f:
        os.fsync(f.fileno())


def sort_header(path: Path) -> None:
    """Rewrite a safetensors file's metadata in the order of its keys, so that equal content is equal bytes.

    The library writes metadata in an order that changes from call to call; the header keeps its length.
    """
    with path.open("rb+") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(dict(sorted(header.items())), ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > length:
            raise LTX2Error(f"The header of {path.name} could not be put in order; save the file again.")
        file.seek(8)
        file.write(text.ljust(length))


def write_json(path: Path, value: object) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
