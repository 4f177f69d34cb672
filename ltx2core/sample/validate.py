"""Makes every cell of a plan, a file each, and one video of all; a run that dies goes on at the first missing cell."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import LTX2Error
from ..files import atomic_path, remove_stale
from ..media.audio import fit_length
from ..media.mp4 import is_whole
from ..media.write import write_video
from ..memory.sampling import kept_streams
from ..models.handle import Models
from ..protocols import Interrupted, Progress, Reporter, Residency, StopSignal
from .cell_scores import measure_cells
from .decode import Clip, decode
from .grid import GridRow, write_grids
from .modes import make
from .plan import ORIGINAL, Cell, Plan
from .published import takes_reference
from .recipe import RECIPE_TAG, read_recipe
from .reference import fit_settings, reference_scale, reference_to_video
from .scores import PictureModel, in_words
from .settings import SampleSettings

_PREVIEW = 512
_PARTS = 100  # into which a cell is divided for the bar


@dataclass(frozen=True)
class ValidationResult:
    """folder: where all files lie. grids: pages of the labelled video. files: one a cell, in the plan's order. made: how many were not there before."""

    folder: Path
    grids: tuple[Path, ...]
    files: tuple[Path, ...]
    cells: tuple[Cell, ...]
    made: int
    table: Path


class _CellReporter:
    """Steps of one cell as a part of all, and every message once."""

    def __init__(self, inner: Reporter, total: int):
        self._inner, self._total, self._said = inner, total, set()
        self._done, self._text = 0, ""

    def begin(self, done: int, text: str) -> None:
        self._done, self._text = done, text

    def progress(self, event: Progress) -> None:
        if event.stage == "sample":
            self._tell(event.done / (event.total + 1), None)

    def finished(self, picture: Image.Image | None) -> None:
        self._tell(1, picture)

    def _tell(self, part: float, picture: Image.Image | None) -> None:
        done = int((self._done + part) * _PARTS)
        self._inner.progress(Progress("validate", done, self._total * _PARTS, self._text, preview=picture))

    def message(self, text: str, level: str = "info") -> None:
        if text not in self._said:
            self._said.add(text)
            self._inner.message(text, level)


def is_made(path: Path, cell: Cell) -> bool:
    """Whether ``path`` is a whole file of this recipe; a damaged one is made again."""
    if not path.is_file() or not is_whole(path):
        return False
    try:
        recipe = read_recipe(path)
    except (LTX2Error, ValueError):
        return False
    return recipe is not None and recipe.get("key") == cell.recipe.key


def validate(
    models: Models,
    plan: Plan,
    folder: Path,
    *,
    residency: Residency,
    reporter: Reporter,
    stop: StopSignal,
    tags: Mapping[str, str] | None = None,
    picture_model: PictureModel | None = None,
    scores: bool = False,
) -> ValidationResult:
    """Make what is missing under ``folder``, then the grid and ``cells.csv``.

    Args:
        tags: put into every file beside its recipe, for example the graph that made it.
        scores: measure loudness and motion of every cell; with ``picture_model`` also the likeness to the clip that the row
            comes from, or to its reference video.

    Raises:
        LTX2Error: a cell that cannot be made; those before it are kept.
        Interrupted: a person asked to stop; finished cells are kept.
    """
    services = {"residency": residency, "reporter": _CellReporter(reporter, 1), "stop": stop}
    cells = plan.cells(_checked(models, plan, services["reporter"]))
    paths = [folder / cell.file for cell in cells]
    missing = [i for i, (cell, path) in enumerate(zip(cells, paths, strict=True)) if not is_made(path, cell)]
    if len(missing) < len(cells):
        reporter.message(f"{len(cells) - len(missing)} of {len(cells)} cells are there from before; the other {len(missing)} are made now.")
    services["reporter"] = _CellReporter(reporter, len(missing))
    remove_stale(folder)
    _make_missing(models, plan, cells, paths, missing, services, tags or {})
    table = folder / "cells.csv"
    numbers = measure_cells(plan, cells, paths, picture_model, folder) if scores else [{} for _ in cells]
    _write_table(table, cells, paths, numbers)
    grids = _grids(plan, cells, paths, numbers, folder, tags or {})
    return ValidationResult(folder, grids, tuple(paths), cells, len(missing), table)


def _checked(models: Models, plan: Plan, reporter: Reporter) -> Models:
    """``models``; an adapter of another family, and a reference that does not suit its clip, are refused before anything is made."""
    shown = False
    for column in plan.all_columns:
        adapters = models.with_adapters(*column.adapters).adapters
        if takes_reference(adapters):
            shown = True
            scale = reference_scale(adapters)
            for row in (r for r in plan.rows if r.reference is not None):
                row.reference.check(fit_settings(row.settings, scale)[0], scale)
    if not shown and any(row.reference is not None for row in plan.rows):
        reporter.message("Reference videos are given and no adapter is an IC-LoRA, so they are shown to none; take an adapter that follows a reference.", "warning")
    return models


def _make_missing(models: Models, plan: Plan, cells: tuple[Cell, ...], paths: list[Path], missing: list[int], services: dict, tags: Mapping[str, str]) -> None:
    watched = services["reporter"]
    with kept_streams(models):
        for done, i in enumerate(missing):
            cell = cells[i]
            watched.begin(done, " / ".join(str(x) for x in (cell.recipe.label, cell.column, cell.seed) if x is not None))
            try:
                clip = _make(models, plan, cell, services)
            except Interrupted as error:
                raise Interrupted(f"Validation stopped with {len(cells) - len(missing) + done} of {len(cells)} cells made; queue again and it goes on from there.") from error
            _write(paths[i], cell, clip, tags)
            watched.finished(_middle(clip))


def _make(models: Models, plan: Plan, cell: Cell, services: dict) -> Clip:
    row = plan.rows[cell.row]
    keep = {"residency": services["residency"], "tiled": plan.tiled}
    if cell.column == ORIGINAL:
        latents = row.original.latents()
        if latents.audio.numel():
            return decode(latents, models, **keep)[0]
        return replace(decode(replace(latents, audio=_silence(latents)), models, **keep)[0], waveform=None)
    adapters = next(c.adapters for c in plan.all_columns if c.label == cell.column)
    settings = SampleSettings.from_dict(dict(cell.recipe.settings))
    negative = plan.negative.features() if any(g.needs_negative for g in settings.guidance()) else None
    models, positive = models.with_adapters(*adapters), row.prompt.features()
    if row.reference is not None and takes_reference(models.adapters):
        return decode(reference_to_video(models, settings, row.reference, positive, negative, row.given, **services), models, **keep)[0]
    return decode(make(models, settings, positive, negative, row.given, **services), models, **keep)[0]


def _silence(latents):
    return latents.video.new_zeros(1, 8, 1, 16)


def _write(path: Path, cell: Cell, clip: Clip, tags: Mapping[str, str]) -> None:
    seed = "" if cell.seed is None else f", seed {cell.seed}"
    comment = f"{cell.recipe.prompt} ({cell.column}{seed})"
    sound = None if clip.waveform is None else fit_length(clip.waveform, len(clip.frames) / clip.frame_rate)
    metadata = {**tags, "comment": comment, RECIPE_TAG: cell.recipe.to_json()}
    write_video(path, clip.frames, clip.frame_rate, sound, metadata, cell.recipe.codec)


def _middle(clip: Clip) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(clip.frames[len(clip.frames) // 2].numpy()))
    picture.thumbnail((_PREVIEW, _PREVIEW))
    return picture


def _write_table(path: Path, cells: tuple[Cell, ...], files: list[Path], numbers: list[dict]) -> None:
    names = list(dict.fromkeys(name for row in numbers for name in row))
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["name", "column", "seed", "adapters", "prompt", "file", *names])
        for cell, target, scores in zip(cells, files, numbers, strict=True):
            adapters = " + ".join(f"{a.name} x{a.strength:g}" for a in cell.recipe.adapters)
            values = ["" if scores.get(n) is None else f"{scores[n]:.4f}" for n in names]
            seed = "" if cell.seed is None else cell.seed
            table.writerow([cell.recipe.label, cell.column, seed, adapters, cell.recipe.prompt, target.name, *values])


def _grids(plan: Plan, cells: tuple[Cell, ...], paths: list[Path], numbers: list[dict], folder: Path, tags: Mapping[str, str]) -> tuple[Path, ...]:
    made = {(c.row, c.column, c.seed): (p, in_words(n)) for c, p, n in zip(cells, paths, numbers, strict=True)}
    measured = any(text for _, text in made.values())
    rows = []
    for i, row in enumerate(plan.rows):
        for seed in plan.seeds:
            found = [made.get((i, label, None if label == ORIGINAL else seed), (None, "")) for label in plan.labels]
            rows.append(GridRow(f"{row.name}\nseed {seed}", tuple(p for p, _ in found), tuple(text for _, text in found) if measured else ()))
    # The first adapter is heard, or the base where there is none.
    heard = min(plan.labels.index("base") + 1, len(plan.labels) - 1)
    return tuple(write_grids(folder, plan.labels, rows, heard=heard, metadata=dict(tags)))
