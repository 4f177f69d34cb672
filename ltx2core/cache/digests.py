"""sha256 of source files, remembered by path, size and time, so that a second look at 10,000 clips reads none of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType

from ..databases import open_memory

LEDGER = "ledger.sqlite3"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS source (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, digest TEXT);
CREATE TABLE IF NOT EXISTS verified (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER);
"""


def file_digest(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class Ledger:
    """The small database of a cache folder: digests of sources, and entries whose bytes were verified.

    SQLite, so that two processes may use it at once.
    """

    def __init__(self, root: Path):
        self._db = open_memory(root / LEDGER, _SCHEMA)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._db.close()

    def digest(self, path: Path) -> str:
        """Content hash of ``path``, read only when its size or time changed."""
        state = path.stat()
        row = self._db.execute("SELECT size, mtime, digest FROM source WHERE path = ?", (str(path),)).fetchone()
        if row and row[:2] == (state.st_size, state.st_mtime_ns):
            return row[2]
        digest = file_digest(path)
        with self._db:
            self._db.execute("REPLACE INTO source VALUES (?, ?, ?, ?)", (str(path), state.st_size, state.st_mtime_ns, digest))
        return digest

    def is_verified(self, path: Path) -> bool:
        """Whether the entry at ``path`` is the file that was written or verified last."""
        state = path.stat()
        row = self._db.execute("SELECT size, mtime FROM verified WHERE path = ?", (str(path),)).fetchone()
        return row == (state.st_size, state.st_mtime_ns)

    def set_verified(self, path: Path) -> None:
        state = path.stat()
        with self._db:
            self._db.execute("REPLACE INTO verified VALUES (?, ?, ?)", (str(path), state.st_size, state.st_mtime_ns))

    def forget(self, path: Path) -> None:
        """Let the entry at ``path`` be checked again before it is used."""
        with self._db:
            self._db.execute("DELETE FROM verified WHERE path = ?", (str(path),))
