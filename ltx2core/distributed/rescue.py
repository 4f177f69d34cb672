"""What a run does on several processes around its state: the first one writes, any survivor rescues."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..train.settings import RunConfig
from ..train.state import Checkpointer, TrainState, load_state
from .world import ALONE, PeerLost, World, agreed, told

if TYPE_CHECKING:
    from ..train.session import Session


@dataclass(frozen=True)
class SharedCheckpointer(Checkpointer):
    """A folder that all processes see; the first one writes it, and the others wait for that."""

    world: World = ALONE

    def save(self, state: TrainState) -> Path:
        with agreed(self.world):
            if self.world.rank == 0:
                super().save(state)
        return self.path(state.step)

    def clean(self) -> None:
        super().clean()
        for claim in self.directory.glob(".state-*.rescue"):
            claim.unlink()

    def rescue(self, state: TrainState) -> Path:
        """Written once, by whichever survivor comes first, asking nobody."""
        path = self.path(state.step)
        claim = path.with_name(f".{path.name}.rescue")
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return path
        try:
            return path if path.exists() else super().save(state)
        finally:
            claim.unlink()


@contextmanager
def rescued(session: Session) -> Iterator[None]:
    """Saves the last whole step when another process is lost.

    Raises:
        PeerLost: it was; the message names it, and the step that is saved.
    """
    try:
        yield
    except PeerLost as lost:
        session.rescue()
        raise PeerLost(f"{lost} The state of step {session.step} is saved; start the run again to go on, with as many processes as you like.") from lost


def shared_start(checkpoints: Checkpointer, world: World, find: Callable[[], TrainState | None]) -> TrainState | None:
    """``find`` on the first process, which may move files; the others read the state that it found."""
    if world.size == 1:
        return find()
    state: TrainState | None = None

    def place() -> tuple[str, str] | None:
        nonlocal state
        state = find()
        if state is None:
            return None
        path = checkpoints.path(state.step)
        return (str(path) if path.exists() else state.origin), state.origin

    where = told(world, place)
    if where is None or world.rank == 0:
        return state
    return load_state(Path(where[0])).begun_at(where[1])


def _kept(checkpoints: Checkpointer) -> int:
    newest = checkpoints.newest()[0]
    return 0 if newest is None else newest.facts["settings"]["train"].get("global_batch", 0)


def _with_clips(run: RunConfig, kept: int, processes: int) -> RunConfig:
    train = run.train
    clips = kept or (train.batch_size * train.accumulation * processes if processes > 1 else 0)
    return run if not clips else replace(run, train=replace(train, global_batch=clips, accumulation=1))


def shared_run(run: RunConfig, directory: Path, processes: int) -> RunConfig:
    """What ``with_global_batch`` makes of ``run`` in ``processes`` that work in ``directory``, before they are there."""
    if run.train.global_batch:
        return run
    return _with_clips(run, _kept(Checkpointer(directory)) if run.train.resume == "auto" else 0, processes)


def with_global_batch(run: RunConfig, checkpoints: Checkpointer, world: World) -> RunConfig:
    """``run`` with the clips of a step as the folder's run has them, else ``batch_size`` times ``accumulation`` on each process.

    Unchanged when it says so itself, or runs alone and nothing else is saved.
    """
    if run.train.global_batch:
        return run
    return _with_clips(run, told(world, lambda: _kept(checkpoints)) if run.train.resume == "auto" else 0, world.size)
