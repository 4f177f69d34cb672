"""A whole run: check, prepare, train, hand over; stop and go on."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..cache.dataset import DatasetCache
from ..checkpoint.adapter import Adapter
from ..distributed.rescue import SharedCheckpointer, rescued, shared_start, with_global_batch
from ..distributed.world import ALONE, SharedStop, World, agreed
from ..models.handle import weight_dtype
from ..protocols import Reporter, Residency, StopSignal
from . import measure
from .controls import Controls
from .crepa_part import CrepaPart, make_features
from .crepa_teacher import TeacherFeatures
from .data import RunData
from .history import History
from .lora import adapter_from_state, injected
from .objective import Objective
from .prepare import check_methods, own_tensors, without_picture_methods
from .previews import Preview
from .reference import References
from .resume import starting_state
from .retention import Retention
from .session import Session
from .settings import RunConfig
from .state import Checkpointer, Facts, TrainState, tensors_digest
from .step import EagerEngine, EngineFactory
from .steps import Outside, run_steps
from .targets import Targets, choose
from .trackers import open_trackers
from .validate import ValidationLoss

if TYPE_CHECKING:
    from ..memory.engine import MemorySettings


@dataclass(frozen=True)
class TrainResult:
    """adapter: float32, scale folded in; adapter_state_path: the last checkpoint; steps: those done, fewer than the run's
    when it was ended before; seconds: of all parts of the run; memory: how the base lay where that was planned, else None.
    """

    adapter: Adapter
    adapter_state_path: Path
    steps: int
    history: History
    seconds: float
    peak_bytes: int
    validation: tuple[ValidationLoss, ...]
    memory: MemorySettings | None = None


@dataclass(frozen=True)
class _Work:
    """One run: what is trained, on what, with what, and where it is kept."""

    run: RunConfig
    model: nn.Module
    data: RunData
    checkpoints: Checkpointer
    facts: Facts
    name: str
    adapter: Adapter | None
    engine: EngineFactory
    vae: nn.Module | None
    residency: Residency
    reporter: Reporter
    outside: Outside
    working_bytes: int
    world: World
    precision: str

    @property
    def targets(self) -> Targets:
        return choose(self.run.lora.targets, len(self.model.transformer_blocks), self.data.cache.has_audio, self.run.train.audio_only)

    def result(self, state: TrainState) -> TrainResult:
        exported = state.part("ema" if self.run.train.ema_decay else "adapter")
        adapter = adapter_from_state(exported, self.run.lora, self.name, self.data.cache.family, self.model)
        scale = self.data.check(self.run.train.conditioning)
        if scale is not None:
            adapter = replace(adapter, metadata={**adapter.metadata, **scale.metadata})
        history = History.open(self.checkpoints.directory / "metrics.jsonl", state.step, written=self.world.rank == 0)
        return TrainResult(adapter, self.checkpoints.path(state.step), state.step, history, state.seconds, state.peak_bytes, tuple(history.validation))


def _train(work: _Work, targets: Targets, state: TrainState | None, last: int) -> None:
    run, model, device = work.run, work.model, work.residency.device
    devices = [device.index or 0] if device.type == "cuda" else []
    own_tensors(model)
    with ExitStack() as held:
        with agreed(work.world):  # before anything large is moved
            trackers = held.enter_context(open_trackers(run, work.checkpoints.directory, work.name, 0 if state is None else state.step, work.reporter, work.world.rank == 0))
        held.enter_context(work.residency.use(model, work.working_bytes))
        held.enter_context(torch.random.fork_rng(devices=devices))
        measure.reset_peak(device)
        dtype = model.audio_proj_in.weight.dtype if run.train.dtype == "auto" else weight_dtype(run.train.dtype, device)
        with injected(model, run.lora, targets.modules, run.train.seed, dtype) as lora:
            if work.adapter is not None:
                lora.load(work.adapter)
            crepa = None if work.data.teacher is None else CrepaPart(run.train, model, work.data, device)
            objective = replace(Objective.of(run.train), crepa=crepa.term if crepa else None)
            engine = work.engine(model, objective, device, run.train.gradient_checkpointing)
            session = Session(run, lora, work.data, engine, crepa, device, work.checkpoints, work.facts, state, work.reporter, trackers, work.world, work.precision)
            with rescued(session):
                run_steps(session, _shared(work.outside, work.world), last)


def _shared(outside: Outside, world: World) -> Outside:
    """A stop reaches all processes at the same step; previews are made by the first one."""
    if world.size == 1:
        return outside
    return replace(outside, stop=SharedStop(outside.stop, world), preview=outside.preview if world.rank == 0 else None)


def _ended(outside: Outside) -> bool:
    """Whether a person asked for the end while the run was paused: nothing has to be loaded for that."""
    if outside.controls is None or not outside.controls.stop_requested():
        return False
    outside.controls.announce("stopping")
    return True


def _changed(before: str, now: str, step: int) -> str:
    return (
        f"The base's weights were {before} up to step {step} and are {now} from here on, so the losses may step a little; "
        f"the run goes on with what it has learned. Choose {before} again if the two parts shall be alike."
    )


def _go(work: _Work, last: int) -> TrainResult:
    """From where the run begins to step ``last``, or to where a person ended it."""
    state = shared_start(work.checkpoints, work.world, lambda: starting_state(work.checkpoints, work.run.train.resume, work.facts, work.reporter))
    if state is None or (state.step < last and not _ended(work.outside)):
        targets, steps = work.targets, work.run.train.steps
        check_methods(work.run, work.model, work.data, targets)
        work.reporter.message(targets.message if state is None else f"The run goes on at step {state.step} of {steps}.")
        if state is not None and work.precision and state.precision not in ("", work.precision):
            work.reporter.message(_changed(state.precision, work.precision, state.step), "warning")
        if work.data.teacher is not None:
            make_features(work.data, work.vae, work.residency, work.reporter, work.outside.stop, work.world)
        _train(work, targets, state, last)
        state, _ = work.checkpoints.newest()
    return work.result(state)


def train(
    run: RunConfig, model: nn.Module, cache: DatasetCache, *, directory: Path, residency: Residency, reporter: Reporter, stop: StopSignal,
    base: str = "", name: str = "adapter", validation: DatasetCache | None = None, references: References | None = None,
    regularisation: DatasetCache | None = None, vae: nn.Module | None = None, adapter: Adapter | None = None,
    engine: EngineFactory = EagerEngine, working_bytes: int = 0, controls: Controls | None = None, preview: Preview | None = None,
    until: int | None = None, world: World = ALONE, precision: str = "",
) -> TrainResult:  # fmt: skip
    """Train a LoRA on ``cache``; called again with the same ``directory`` it goes on, and a finished run is returned at once.

    Args:
        model: the transformer, frozen, without adapters; it is left as it was.
        directory: of this run alone; holds checkpoints and ``metrics.jsonl``.
        base: content hash of the base weights, so that a run never goes on with others.
        name: of the adapter.
        validation: held-out clips; the first training clips when None.
        references: reference videos of all clips, of ``validation`` too (IC-LoRA).
        regularisation: clips, cached in the same folder, whose target is the base's own prediction (prior preservation).
        vae: the video VAE, which CREPA needs to make its features once.
        adapter: to continue from; its rank and kind must be the run's.
        engine: how a step is run; see :class:`~ltx2core.train.step.Engine`.
        working_bytes: memory to keep free on the device beside the base weights.
        controls: pause, save and stop from another thread.
        preview: called every ``preview_every`` steps, at step 0 and at the end.
        until: end at this step, counted from the run's beginning, with the state saved; None for the run's own end.
        world: the processes that share the run; all call this with equal arguments, on a folder that all of them see.
        precision: what the base's weights are, such as bf16 or int8. A run may go on with another, as on another card, and says so.

    Raises:
        Interrupted: ``stop`` was set; the state is saved. Its subclass Paused: see ``controls.with_pauses``.
        LTX2Error: the folder holds another run, a full disk, a loss that is not finite, no clips.
    """
    run = without_picture_methods(run, reporter)
    teacher = None if run.train.crepa is None else TeacherFeatures(cache.root, run.train.crepa)
    data = RunData(cache, validation, references, regularisation, teacher)
    data.check(run.train.conditioning)
    checkpoints = SharedCheckpointer(directory, Retention(run.train.keep_checkpoints, run.train.keep_every), world)
    run = with_global_batch(run, checkpoints, world)
    facts = Facts.of(run, cache.digest, base, start=tensors_digest(adapter.state()) if adapter else "", **data.facts())
    work = _Work(run, model, data, checkpoints, facts, name, adapter, engine, vae, residency, reporter, Outside(stop, controls, preview), working_bytes, world, precision)
    with torch.inference_mode(False), torch.enable_grad():
        return _go(work, run.train.steps if until is None else min(until, run.train.steps))
