"""Whether a folder or a file has changed since a node looked at it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from ..ltx2core.data.files import walk
from ..ltx2core.errors import LTX2Error


def folder_state(folder: Path) -> str:
    """Changes when a file is added, removed or written, so that the host runs the node again. Loops of links are left out."""
    if not folder.is_dir():
        return "missing"
    digest = hashlib.sha256()
    for path in sorted(walk(folder, True)):
        try:
            state = path.stat()
        except OSError:  # it went while the folder was listed, which is a change too
            digest.update(b"gone")
            continue
        digest.update(f"{path}|{state.st_size}|{state.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def file_state(find: Callable[[], Path]) -> str:
    """Changes when the file is written anew, as a LoRA is by the next training; empty while ``find`` finds none."""
    try:
        state = find().stat()
    except (LTX2Error, OSError):  # the node itself says what is missing
        return ""
    return f"{state.st_size}|{state.st_mtime_ns}"
