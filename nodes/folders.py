"""Whether a folder has changed since a node looked at it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..ltx2core.data.files import walk


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
