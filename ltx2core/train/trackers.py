"""Losses to tensorboard and wandb, where they are installed and asked for. The JSON lines in the run's folder are always written."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..errors import LTX2Error
from ..protocols import Reporter
from .settings import RunConfig


class Tracker(Protocol):
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars of optimizer step ``step``; a step of before a crash may come again."""
        ...

    def close(self) -> None: ...


class Trackers:
    """All of a run, by name, as one. One that fails is said and left out from then on: training does not end for it."""

    def __init__(self, trackers: Mapping[str, Tracker], reporter: Reporter):
        self._trackers, self._reporter = dict(trackers), reporter

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                act(tracker)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong in a tracker, hours of training go on
                del self._trackers[name]
                self._reporter.message(f"The tracker {name} failed ({type(error).__name__}: {error}); training goes on without it, metrics.jsonl has all losses.", "warning")

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        """``None`` values are left out."""
        known = {name: value for name, value in values.items() if value is not None}
        self._each(lambda tracker: tracker.log(step, known))

    def close(self) -> None:
        self._each(lambda tracker: tracker.close())


class TensorBoard:
    """Event files under ``directory/tensorboard``; what an earlier part of the run wrote beyond ``first`` is hidden by them."""

    def __init__(self, directory: Path, first: int):
        _needed("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(directory / "tensorboard", purge_step=first + 1 if first else None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A wandb run named ``name``, which goes on when training does; wandb's own login and environment decide where it lies."""

    def __init__(self, directory: Path, name: str, project: str, config: Mapping[str, Any]):
        wandb = _needed("wandb", "wandb")
        remembered = directory / "wandb_id.txt"
        identity = remembered.read_text(encoding="utf-8").strip() if remembered.exists() else uuid.uuid4().hex[:8]
        remembered.write_text(identity, encoding="utf-8")
        try:
            self._run = wandb.init(project=project, name=name, id=identity, resume="allow", dir=str(directory), config=dict(config))
        except wandb.errors.Error as error:
            raise LTX2Error(f"wandb did not begin ({error}); log in with wandb login, set WANDB_MODE=offline, or take it out of trackers.") from error
        # An axis of its own: wandb's counter can't go back to a checkpoint's step.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def close(self) -> None:
        self._run.finish()


def _needed(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise LTX2Error(f"The tracker {package} was asked for and is not installed; run pip install {package}, or take it out of trackers.") from error


def check_trackers(names: Sequence[str]) -> None:
    """Raises LTX2Error, before anything is computed, for one that is not installed."""
    for name in names:
        _needed(name, name)


@contextmanager
def open_trackers(run: RunConfig, directory: Path, name: str, first: int, reporter: Reporter, wanted: bool = True) -> Iterator[Trackers]:
    """Those of ``run``, closed after the block.

    Args:
        first: optimizer steps that are done already.
        wanted: False for none, where another process of the run has them.

    Raises:
        LTX2Error: one is not installed, or wandb has no login.
    """
    tracking = run.train.tracking
    makers = {
        "tensorboard": lambda: TensorBoard(directory, first),
        "wandb": lambda: WandB(directory, name, tracking.project, run.to_dict()),
    }
    trackers = Trackers({tracker: makers[tracker]() for tracker in tracking.trackers if wanted}, reporter)
    try:
        yield trackers
    finally:
        trackers.close()
