"""Where a run begins: ``auto``, ``new``, or the path of a checkpoint. What is not gone on with is set aside, never deleted."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import LTX2Error
from ..protocols import Reporter
from .state import Checkpointer, Facts, TrainState, check_same_run, load_state

_METRICS = "metrics.jsonl"


def how_to_go_on(resume: str) -> str:
    """What a person does to go on with a run that was stopped; ``new`` would begin it anew."""
    return "set resume to auto and queue again to go on" if resume == "new" else "queue again to go on"


def set_aside(checkpoints: Checkpointer, after: int = -1) -> Path | None:
    """Move checkpoints of steps above ``after`` into ``earlier-<n>`` beside them, a copy of the losses first.

    Returns:
        That folder; None when there was nothing to move.
    """
    paths = [p for p in checkpoints.paths() if checkpoints.step_of(p) > after]
    if not paths:
        return None
    taken = [int(p.name.removeprefix("earlier-")) for p in checkpoints.directory.glob("earlier-*") if p.name.removeprefix("earlier-").isdigit()]
    folder = checkpoints.directory / f"earlier-{max(taken, default=0) + 1:03d}"
    folder.mkdir()
    metrics = checkpoints.directory / _METRICS
    if metrics.exists():
        shutil.copy2(metrics, folder / _METRICS)
    for path in paths:
        path.rename(folder / path.name)
    return folder


def _of_path(text: str) -> tuple[TrainState, Path]:
    """The checkpoint at a file, or the newest one in a folder."""
    path = Path(text).expanduser()
    if path.is_dir():
        found = Checkpointer(path).paths()
        if not found:
            raise LTX2Error(f"resume names the folder {path}, which holds no checkpoint; give a state-….safetensors, or auto.")
        path = found[0]
    if not path.is_file():
        raise LTX2Error(f"resume is {text!r} and there is no such checkpoint; give the path of a state-….safetensors, auto or new.")
    return load_state(path), path.resolve()


def _gone_on(checkpoints: Checkpointer, text: str) -> TrainState | None:
    """Where a run that began at the path goes on when it is started again, though its checkpoint may be gone by then."""
    path = Path(text).expanduser()
    if path.is_dir():
        path = next(iter(Checkpointer(path).paths()), path)
    newest, _ = checkpoints.newest()
    return newest if newest is not None and newest.origin == str(path.resolve()) else None


def _from_path(checkpoints: Checkpointer, text: str, reporter: Reporter) -> TrainState:
    state, path = _of_path(text)
    if path.parent == checkpoints.directory.resolve():
        aside = set_aside(checkpoints, state.step)
    else:
        aside = set_aside(checkpoints)
        if (path.parent / _METRICS).exists():
            shutil.copy2(path.parent / _METRICS, checkpoints.directory / _METRICS)
    if aside is not None:
        reporter.message(f"Checkpoints that the run had here are kept in {aside}.")
    return state.begun_at(str(path))


def starting_state(checkpoints: Checkpointer, resume: str, facts: Facts, reporter: Reporter) -> TrainState | None:
    """The state to go on from; None to start anew.

    ``auto`` takes the newest whole checkpoint of the folder, passing over damaged ones. ``new`` sets them aside. A path
    names a checkpoint of the same run, here or elsewhere; a run that began there goes on when it is started again.

    Raises:
        LTX2Error: the checkpoint belongs to another run, or there is none at the path.
    """
    checkpoints.directory.mkdir(parents=True, exist_ok=True)
    checkpoints.clean()
    if resume == "new":
        aside = set_aside(checkpoints)
        if aside is not None:
            reporter.message(f"A new run begins; the checkpoints of the one before are kept in {aside}.")
        return None
    if resume != "auto":
        again = _gone_on(checkpoints, resume)
        if again is not None:
            check_same_run(again.facts, facts, checkpoints.directory)
            return again
        check_same_run(_of_path(resume)[0].facts, facts, Path(resume))
        return _from_path(checkpoints, resume, reporter)
    state, messages = checkpoints.newest()
    for text in messages:
        reporter.message(text, "warning")
    if state is not None:
        check_same_run(state.facts, facts, checkpoints.directory)
        if not messages:
            checkpoints.let_go()  # the process before may have been killed when it had saved and not yet done so
    return state
