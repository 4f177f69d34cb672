"""Captions of a whole folder in one table: csv, jsonl or parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from ..errors import LTX2Error
from ..strict import nearest
from .spec import DatasetSpec

_FILE_COLUMNS = ("file_name", "filename", "file", "path", "media_path", "video", "image", "audio", "id")
_CAPTION_COLUMNS = ("caption", "text", "prompt", "description")
_FIELD_LIMIT = 1 << 24  # characters of one csv field


def table_path(spec: DatasetSpec) -> Path:
    """The table that ``spec`` names, or the only one of its kind in the folder.

    Raises:
        LTX2Error: none, or several.
    """
    folder, suffix = Path(spec.folder).expanduser(), f".{spec.caption_strategy}"
    if spec.caption_table:
        path = folder / Path(spec.caption_table).expanduser()
        if not path.is_file():
            raise LTX2Error(f"There is no caption table {path}; check caption_table.")
        return path
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() == suffix)
    if len(found) != 1:
        what = f"{len(found)} {suffix} files" if found else f"no {suffix} file"
        raise LTX2Error(f"{folder} holds {what}; name the caption table in caption_table.")
    return found[0]


def _csv_rows(path: Path) -> Iterator[Mapping]:
    csv.field_size_limit(_FIELD_LIMIT)
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        delimiter = max(",;\t", key=first.count)
        file.seek(0)
        yield from csv.DictReader(file, delimiter=delimiter)


def _jsonl_rows(path: Path) -> Iterator[Mapping]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise LTX2Error(f"Line {number} of {path.name} is no JSON ({error}); write one object a line.") from error
            if not isinstance(row, dict):
                raise LTX2Error(f"Line {number} of {path.name} is no JSON object; write one a line, with a file name and a caption.")
            yield row


def _parquet_rows(path: Path) -> Iterator[Mapping]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise LTX2Error("Captions in parquet need pyarrow: pip install pyarrow, or save the table as csv.") from error
    try:
        yield from parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise LTX2Error(f"{path.name} cannot be read as parquet ({str(error).splitlines()[0]}); write it again.") from error


_ROWS = {"csv": _csv_rows, "jsonl": _jsonl_rows, "parquet": _parquet_rows}


def _column(wanted: str, usual: tuple[str, ...], known: list[str], path: Path, option: str) -> str:
    if wanted:
        if wanted not in known:
            raise LTX2Error(f"{path.name} has no column {wanted!r} ({option}); {nearest(wanted, known)}")
        return wanted
    lower = {str(name).strip().lower(): name for name in known}
    found = next((lower[name] for name in usual if name in lower), None)
    if found is None:
        raise LTX2Error(f"{path.name} has none of the columns {', '.join(usual)}; name the right one in {option}.")
    return found


def _texts(value: object) -> tuple[str, ...]:
    """A cell's captions: one, or a list of them."""
    items = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(text for item in items if item is not None and (text := " ".join(str(item).split())))


class CaptionTable:
    """The captions of a table, found by a file's name inside the folder, its own name, or its stem."""

    def __init__(self, spec: DatasetSpec):
        self.path = table_path(spec)
        self._folder = Path(spec.folder).expanduser()
        try:
            rows = list(_ROWS[spec.caption_strategy](self.path))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise LTX2Error(f"The caption table {self.path.name} cannot be read ({error}); save it as UTF-8.") from error
        if not rows:
            raise LTX2Error(f"The caption table {self.path.name} has no rows; write one a clip.")
        known = [name for name in dict.fromkeys(name for row in rows for name in row) if isinstance(name, str)]
        file = _column(spec.table_file_column, _FILE_COLUMNS, known, self.path, "table_file_column")
        caption = _column(spec.table_caption_column, _CAPTION_COLUMNS, known, self.path, "table_caption_column")
        fallback = _column(spec.table_fallback_column, (), known, self.path, "table_fallback_column") if spec.table_fallback_column else None
        self._captions: dict[str, tuple[str, ...]] = {}
        for row in rows:
            name = PurePosixPath(str(row.get(file) or "").replace("\\", "/").removeprefix("./"))
            texts = _texts(row.get(caption)) or (_texts(row.get(fallback)) if fallback else ())
            self._captions.setdefault(str(name), texts)

    def __call__(self, path: Path) -> tuple[str, ...]:
        inside = path.relative_to(self._folder) if path.is_relative_to(self._folder) else Path(path.name)
        for name in (str(path), inside.as_posix(), path.name, inside.with_suffix("").as_posix(), path.stem):
            if name in self._captions:
                if not self._captions[name]:
                    raise LTX2Error(f"has an empty caption in {self.path.name}; describe the clip there")
                return self._captions[name]
        raise LTX2Error(f"has no row in the caption table {self.path.name}; add one, or take the file out")
