"""Small SQLite files that only remember: what is damaged is put aside and remembered anew."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from .errors import LTX2Error

# A disk that can't be written, or another process that holds the file.
_NOT_DAMAGE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
_WAIT = 60.0  # seconds for another process's write


def open_memory(path: Path, schema: str) -> sqlite3.Connection:
    """The database at ``path`` with the tables of ``schema``, made where it is missing.

    A file that is no database, or a damaged one, is renamed to ``NAME.damaged`` and begun anew: it holds nothing that
    cannot be found again. Broken text in a row is read with replaced characters.

    Raises:
        LTX2Error: the disk cannot be written, or another process holds the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _opened(path, schema)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if getattr(error, "sqlite_errorcode", None) in _NOT_DAMAGE:
            raise LTX2Error(f"{path} cannot be opened ({error}); check the disk and the folder's permissions.") from error
        os.replace(path, path.with_name(path.name + ".damaged"))
        return _opened(path, schema)


def _writable(path: Path) -> bool:
    """Whether SQLite's write version is one that it writes: with another it only reads (https://www.sqlite.org/fileformat.html, byte 18)."""
    with path.open("rb") as file:
        return file.read(19)[18:] in (b"", b"\x01", b"\x02")


def _opened(path: Path, schema: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_WAIT)
    database.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        database.executescript(schema)
        # A full check reads all of it: a few thousand rows a millisecond.
        if not _writable(path) or database.execute("PRAGMA quick_check").fetchone() != ("ok",) or _tables(database) != _wanted(schema):
            raise sqlite3.DatabaseError("damaged")
    except (sqlite3.Error, UnicodeDecodeError):
        database.close()
        raise
    return database


def _tables(database: sqlite3.Connection) -> list[tuple]:
    return database.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()


def _wanted(schema: str) -> list[tuple]:
    """The tables that ``schema`` makes in a fresh database."""
    fresh = sqlite3.connect(":memory:")
    try:
        fresh.executescript(schema)
        return _tables(fresh)
    finally:
        fresh.close()
