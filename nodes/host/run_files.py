"""What a page may read of a run's folder: its losses and its previews. Names never lead out of the folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

_NAME = re.compile(r"[\w .\-]+(/[\w .\-]+)*")
_STEP = re.compile(r"step-(?P<step>\d{1,9})(-(?P<name>.*))?")
_FILE = re.compile(r"[\w .\-]+")
PREVIEW_TYPES = {".mp4": "video/mp4", ".webm": "video/webm", ".webp": "image/webp", ".gif": "image/gif", ".jpg": "image/jpeg", ".png": "image/png"}
_MOST_POINTS = 2000
_MOST_PREVIEWS = 200
_MOST_BYTES = 64 * 2**20


def run_folder(runs: Path, name: str) -> Path | None:
    """The folder of run ``name``; None for a name that leaves ``runs``, by dots or by links, or that is no run."""
    if not _NAME.fullmatch(name) or ".." in name:
        return None
    folder = (runs / name).resolve()
    return folder if folder.is_relative_to(runs.resolve()) and folder.is_dir() else None


def _inside(folder: Path, *parts: str) -> Path | None:
    """A file of at most 64 MiB inside ``folder``, links followed; else None."""
    path = folder.joinpath(*parts).resolve()
    if not path.is_relative_to(folder) or not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return None
    return path


def metrics_file(runs: Path, name: str) -> Path | None:
    folder = run_folder(runs, name)
    return None if folder is None else _inside(folder, "metrics.jsonl")


def preview_file(runs: Path, name: str, file: str) -> Path | None:
    """A film or picture directly inside the run's folder ``previews``."""
    folder = run_folder(runs, name)
    if folder is None or not _FILE.fullmatch(file) or ".." in file or Path(file).suffix.lower() not in PREVIEW_TYPES:
        return None
    return _inside(folder, "previews", file)


def previews(runs: Path, name: str) -> list[dict]:
    """The newest 200 previews, oldest first: ``file``; ``step`` and ``name``, from step-000100-<name>.mp4, else None and the stem."""
    folder = run_folder(runs, name)
    if folder is None or not (folder / "previews").is_dir():
        return []
    files = [p.name for p in (folder / "previews").iterdir() if preview_file(runs, name, p.name)]
    listed = [_described(file) for file in files]
    return sorted(listed, key=lambda p: (-1 if p["step"] is None else p["step"], p["file"]))[-_MOST_PREVIEWS:]


def _described(file: str) -> dict:
    found = _STEP.fullmatch(Path(file).stem)
    return {"file": file, "step": int(found["step"]) if found else None, "name": (found["name"] or "") if found else Path(file).stem}


def read_points(path: Path, most: int = _MOST_POINTS) -> dict:
    """{"steps": [...], "validation": [...]}: validations whole, steps thinned evenly to at most ``most``."""
    steps, validation = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the line that is being written now
        (steps if record.get("event") == "step" else validation).append(record)
    every = -(-len(steps) // most) or 1
    return {"steps": steps[::every], "validation": validation}
