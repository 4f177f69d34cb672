"""A run in pieces: how far it has come, and where the next piece ends."""

from __future__ import annotations

from pathlib import Path

from ..errors import LTX2Error
from .checks import check_whole
from .settings import TrainSettings
from .state import Checkpointer


def reached_step(directory: Path) -> int:
    """Of the newest checkpoint in ``directory``; 0 when there is none. Files are named by their step and are not read."""
    steps = [Checkpointer.step_of(path) for path in Checkpointer(directory).paths()]
    return max(steps, default=0)


def segment_end(directory: Path, steps: int, settings: TrainSettings) -> int:
    """The step at which a piece of ``steps`` more ends; at most the run's own end.

    Raises:
        LTX2Error: the run is asked to begin anew, which every piece would do.
    """
    check_whole("segment_steps", steps, 1)
    if settings.resume != "auto":
        raise LTX2Error(f"Training in segments goes on where the run is and resume is {settings.resume!r}; set resume to auto, and choose another name for a new run.")
    return min(settings.steps, reached_step(directory) + steps)
