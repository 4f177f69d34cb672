"""Numbers of a validation's cells, kept beside them so that an unchanged cell is measured once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..files import atomic_path
from .plan import ORIGINAL, Cell, Plan
from .reference import Reference
from .scores import PictureModel, measure, small_frames


class _Likenesses:
    """Of cells to what they are to look like: the clip that their row comes from, or the row's reference video."""

    def __init__(self, plan: Plan, model: PictureModel | None, originals: dict[int, Path]):
        self._plan, self._model, self._originals = plan, model, originals
        self._seen: dict[int, Tensor] = {}

    def source(self, cell: Cell) -> str | None:
        """Names model and reference; None where there is nothing to compare."""
        row = self._plan.rows[cell.row]
        if self._model is None or cell.column == ORIGINAL:
            return None
        if row.original is not None:
            return f"{self._model.name}|{row.original.key}"
        return f"{self._model.name}|{row.reference.key}" if isinstance(row.reference, Reference) else None

    def of(self, cell: Cell, path: Path) -> float:
        if cell.row not in self._seen:
            row = self._plan.rows[cell.row]
            shown = small_frames(self._originals[cell.row]) if row.original is not None else row.reference.frames[: row.settings.frames]
            self._seen = {cell.row: self._model.embedding(shown)}  # cells come row by row
        return float(self._model.embedding(small_frames(path)) @ self._seen[cell.row])


def _read(path: Path) -> dict[str, dict]:
    """What was measured before; a damaged file only means that all is measured again."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and all(isinstance(entry, dict) for entry in known.values()) else {}


def measure_cells(plan: Plan, cells: Sequence[Cell], paths: Sequence[Path], model: PictureModel | None, folder: Path) -> list[dict[str, float | None]]:
    """Scores of every cell; those that ``scores.json`` has of the same file, model and reference are not measured again."""
    kept = folder / "scores.json"
    known = _read(kept)
    likenesses = _Likenesses(plan, model, {c.row: p for c, p in zip(cells, paths, strict=True) if c.column == ORIGINAL})
    results = []
    for cell, path in zip(cells, paths, strict=True):
        entry = known.setdefault(path.name, {})
        if "numbers" not in entry:
            entry["numbers"] = measure(path)
        scores = dict(entry["numbers"])
        if (source := likenesses.source(cell)) is not None:
            if entry.get("compared_with") != source:
                entry |= {"compared_with": source, "similarity": likenesses.of(cell, path)}
            scores["similarity"] = entry["similarity"]
        results.append(scores)
    with atomic_path(kept) as temporary:
        temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return results
