"""Small SQLite files that only remember: what is damaged is put aside and remembered anew."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

_WAIT = 60.0  # seconds for another process's write


def open_memory(path: Path, schema: str) -> sqlite3.Connection:
    """The database at ``path`` with the tables of ``schema``, made where it is missing.

    A file that is no database, or a damaged one, is renamed to ``NAME.damaged`` and begun anew: it holds nothing that
    cannot be found again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _opened(path, schema)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise  # locked, or a disk that can't be written: not damage
        os.replace(path, path.with_name(path.name + ".damaged"))
        return _opened(path, schema)


def _opened(path: Path, schema: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_WAIT)
    try:
        database.executescript(schema)
        # A full check reads all of it: a few thousand rows a millisecond.
        if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
    except sqlite3.Error:
        database.close()
        raise
    return database
