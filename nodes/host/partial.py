"""Remembers that a run was ended before its last step, so that the host runs its node again and a finished run is not repeated."""

from __future__ import annotations

import json
from pathlib import Path

from ...ltx2core.files import atomic_path

_FILE = "ended.json"


def mark_partial(folder: Path, step: int, target: int) -> None:
    """Called when a run ends before ``target``. A later end leaves the mark, so that the finished run stays in the host's cache."""
    with atomic_path(folder / _FILE) as temporary:
        temporary.write_text(json.dumps({"step": step, "target": target}), encoding="utf-8")


def partial_mark(folder: Path) -> str:
    """"340/2000" of the last early end; empty for a run that never ended early."""
    path = folder / _FILE
    if not path.is_file():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    return f"{found['step']}/{found['target']}"
