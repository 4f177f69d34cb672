"""What files were found to hold, remembered by path, size and time, so that a second scan opens none of them."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import get_type_hints

from ..databases import open_memory
from ..errors import LTX2Error
from ..media.probe import MediaInfo, probe

# Raised when probing finds other things in the same file.
_VERSION = 3
_SCHEMA = "CREATE TABLE IF NOT EXISTS probed (path TEXT, what TEXT, state TEXT, found TEXT, PRIMARY KEY (path, what));"
_THREADS = max(1, min(4, os.cpu_count() or 1))
_KINDS = {name: (int, float) if kind is float else (kind,) for name, kind in get_type_hints(MediaInfo).items() if name != "path"}
_AT_ONCE = 256  # files between two writes


@dataclass(frozen=True)
class Found:
    """What a look at a file gave: ``info``, or the ``reason`` why it can't be used."""

    info: MediaInfo | None
    reason: str = ""


def _look(path: Path) -> Found:
    try:
        return Found(probe(path))
    except LTX2Error as error:
        return Found(None, str(error))


def _unpack(text: str, path: Path) -> Found | None:
    """None for a row that was damaged."""
    try:
        info = MediaInfo(**{**json.loads(text), "path": path})
    except (ValueError, TypeError):
        return None
    return Found(info) if all(type(getattr(info, name)) in kinds for name, kinds in _KINDS.items()) else None


def _numbers(text: str) -> tuple[float, ...] | None:
    """None for a row that was damaged."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return tuple(found) if isinstance(found, list) and all(type(n) in (int, float) for n in found) else None


class ScanMemory:
    """A small SQLite file; without a path nothing is remembered. Several processes may use it at once."""

    def __init__(self, path: Path | None = None):
        self._keep = path is not None
        self._db = sqlite3.connect(":memory:") if path is None else open_memory(path, _SCHEMA)
        if path is None:
            self._db.execute(_SCHEMA)

    def __enter__(self) -> ScanMemory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._db.close()

    def _recall(self, path: Path, what: str, state: str) -> str | None:
        row = self._db.execute("SELECT state, found FROM probed WHERE path = ? AND what = ?", (str(path.absolute()), what)).fetchone()
        return row[1] if row and row[0] == state else None

    def _learn(self, rows: Iterable[tuple[Path, str, str, str]]) -> None:
        if self._keep:
            with self._db:
                self._db.executemany("REPLACE INTO probed VALUES (?, ?, ?, ?)", [(str(p.absolute()), *rest) for p, *rest in rows])

    def probe_all(self, paths: list[Path], progress: Callable[[int], None] = lambda done: None) -> list[Found]:
        """Every file's contents, in order, looked at by several threads. ``progress`` is told how many are done."""
        results: list[Found] = []
        with ThreadPoolExecutor(_THREADS) as pool:
            for at in range(0, len(paths), _AT_ONCE):
                part = paths[at : at + _AT_ONCE]
                states = [_state(p) for p in part]
                texts = [self._recall(p, "info", s) if s else None for p, s in zip(part, states, strict=True)]
                known = [None if text is None else _unpack(text, p) for p, text in zip(part, texts, strict=True)]
                fresh = pool.map(_look, (p for p, remembered in zip(part, known, strict=True) if remembered is None))
                learned = []
                for path, state, remembered in zip(part, states, known, strict=True):
                    found = remembered or next(fresh)
                    # What can't be read is tried again: a permission or a drive may be mended without a new time.
                    if remembered is None and state and found.info is not None:
                        learned.append((path, "info", state, json.dumps({**asdict(found.info), "path": ""})))
                    results.append(found)
                    progress(len(results))
                self._learn(learned)
        return results

    def numbers(self, path: Path, what: str, measure: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
        """``measure()``'s result, remembered under ``what``."""
        state = _state(path)
        text = self._recall(path, what, state) if state else None
        known = None if text is None else _numbers(text)
        if known is not None:
            return known
        result = measure()
        if state:
            self._learn([(path, what, state, json.dumps(result))])
        return result


def _state(path: Path) -> str:
    """Size and time of the file; empty when there is none that can be looked at."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{_VERSION}:{state.st_size}:{state.st_mtime_ns}"
