"""The loop between two steps: train, validate, save, preview; hear what a person asks."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import LTX2Error
from ..protocols import Interrupted, StopSignal
from .controls import Controls, Paused
from .feed import Feed
from .previews import Preview, run_previews
from .resume import how_to_go_on
from .session import Session
from .settings import TrainSettings
from .validate import divergence

# From this share on a person should know that the disk, not the card, sets the speed.
MOST_WAITING = 0.02


@dataclass(frozen=True)
class Outside:
    """What acts on a run from outside. ``controls`` and ``preview``: None for none."""

    stop: StopSignal
    controls: Controls | None = None
    preview: Preview | None = None


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _heard(session: Session, outside: Outside, last: int) -> bool:
    """Honour what was asked for since the last step; True to end here.

    Raises:
        Interrupted: the stop signal was set. Paused: a pause was asked for. The state is saved for both.
    """
    if outside.stop.requested():
        session.save()
        raise Interrupted(f"Training stopped at step {session.step} of {last}; its state is saved, {how_to_go_on(session.run.train.resume)}.")
    controls = outside.controls
    if controls is None:
        return False
    if controls.stop_requested():
        controls.announce("stopping")
        session.save()
        session.reporter.message(f"Training ends at step {session.step} of {last}, as was asked; {how_to_go_on(session.run.train.resume)}.")
        return True
    if controls.pause_requested():
        controls.announce("pausing")
        controls.take_save()
        session.save()
        raise Paused(session.step)
    if controls.take_save():
        controls.announce("saving")
        session.reporter.message(f"Saved at step {session.step}: {session.save().name}.")
        controls.announce("running")
    return False


def _after_step(session: Session, train: TrainSettings, outside: Outside, last: int) -> None:
    """Validation, checkpoint and preview of the step just done, where they are due; steps count from the run's beginning."""
    step, done = session.step, session.step == train.steps
    checked = done or _due(step, train.validate_every)
    if checked:
        session.validate()
    why = divergence(session.history.validation, train.divergence_guard, train.learned) if checked else None
    if why or step == last or _due(step, train.checkpoint_every):
        session.save()
    if done or _due(step, train.preview_every):
        _preview(session, train, outside)
    if why and not done:
        raise LTX2Error(f"{why}, so training stopped at step {step}; lower the learning rate under a new name, or {how_to_go_on(train.resume)} all the same.")


def _preview(session: Session, train: TrainSettings, outside: Outside) -> None:
    if outside.preview is not None and train.preview_every:
        run_previews(outside.preview, session)


def run_steps(session: Session, outside: Outside, last: int) -> None:
    """Train up to step ``last``, or end before it, saved, when a person asks for that.

    Raises:
        Interrupted, Paused: as asked; the state is saved.
        LTX2Error: the loss diverged or is not finite, or the disk is full.
    """
    train = session.run.train
    if session.step == 0:
        session.validate()
        _preview(session, train, outside)
    with Feed(session.data, session.sampler, train, session.dtype, session.step, session.device.type == "cuda", session.world) as feed:
        while session.step < last and not _heard(session, outside, last):
            session.advance(feed)
            _after_step(session, train, outside, last)
    if (share := session.data_wait.share) is not None:
        session.reporter.message(f"The steps waited for data {share:.1%} of their time.", "warning" if share > MOST_WAITING else "info")
