"""A whole run: prepare, step, log, validate, save; stop and go on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ..cache.dataset import DatasetCache
from ..checkpoint.adapter import Adapter
from ..errors import LTX2Error
from ..models.handle import weight_dtype
from ..protocols import Interrupted, Reporter, Residency, StopSignal
from . import measure
from .audio_only import check_audio_only, check_pictures
from .crepa import check_crepa
from .crepa_part import CrepaPart, make_features
from .crepa_teacher import TeacherFeatures
from .data import RunData
from .feed import Feed
from .history import History
from .lora import adapter_from_state, injected
from .objective import Objective
from .reference import References
from .session import Session
from .settings import RunConfig
from .state import Checkpointer, Facts, TrainState, check_same_run, tensors_digest
from .step import EagerEngine, EngineFactory
from .targets import Targets, choose
from .tread import resolve_routes
from .validate import ValidationLoss, divergence


@dataclass(frozen=True)
class TrainResult:
    """adapter: float32, scale folded in; adapter_state_path: the last checkpoint; seconds: of all parts of the run."""

    adapter: Adapter
    adapter_state_path: Path
    steps: int
    history: History
    seconds: float
    peak_bytes: int
    validation: tuple[ValidationLoss, ...]


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _steps(session: Session, stop: StopSignal) -> None:
    """Train to the end, or save and raise Interrupted when asked to stop."""
    train = session.run.train
    first = session.step * train.accumulation
    if session.step == 0:
        session.validate()
    with Feed(session.data, session.sampler, train, session.dtype, first, session.device.type == "cuda") as feed:
        while session.step < train.steps:
            if stop.requested():
                session.save()
                raise Interrupted(f"Training stopped at step {session.step} of {train.steps}; its state is saved, queue again to go on.")
            session.advance(feed)
            done = session.step == train.steps
            if done or _due(session.step, train.validate_every):
                session.validate()
            why = divergence(session.history.validation, train.divergence_guard) if done or _due(session.step, train.validate_every) else None
            if why or done or _due(session.step, train.checkpoint_every):
                session.save()
            if why and not done:
                raise LTX2Error(f"{why}, so training stopped at step {session.step}; lower the learning rate under a new name, or queue again to go on all the same.")


def _result(run: RunConfig, model: nn.Module, cache: DatasetCache, checkpoints: Checkpointer, state: TrainState, name: str) -> TrainResult:
    adapter = adapter_from_state(state.part("ema" if run.train.ema_decay else "adapter"), run.lora, name, cache.family, model)
    history = History.open(checkpoints.directory / "metrics.jsonl", state.step)
    return TrainResult(adapter, checkpoints.path(state.step), state.step, history, state.seconds, state.peak_bytes, tuple(history.validation))


def _own(model: nn.Module) -> None:
    """Tensors made in inference mode can't take part in autograd: replace them by copies."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_inference():
                module._parameters[name] = nn.Parameter(parameter.clone(), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_inference():
                module._buffers[name] = buffer.clone()


def _train(run: RunConfig, model: nn.Module, data: RunData, targets: Targets, checkpoints: Checkpointer, facts: Facts, state: TrainState | None,
           residency: Residency, reporter: Reporter, stop: StopSignal, adapter: Adapter | None, engine: EngineFactory, working_bytes: int) -> None:  # fmt: skip
    device = residency.device
    devices = [device.index or 0] if device.type == "cuda" else []
    _own(model)
    with residency.use(model, working_bytes), torch.random.fork_rng(devices=devices):
        measure.reset_peak(device)
        dtype = model.proj_in.weight.dtype if run.train.dtype == "auto" else weight_dtype(run.train.dtype, device)
        with injected(model, run.lora, targets.modules, run.train.seed, dtype) as lora:
            if adapter is not None:
                lora.load(adapter)
            crepa = None if data.teacher is None else CrepaPart(run.train, model, data, device)
            objective = replace(Objective.of(run.train), crepa=crepa.term if crepa else None)
            step = engine(model, objective, device, run.train.gradient_checkpointing)
            session = Session(run, lora, data, step, crepa, device, checkpoints, facts, state, reporter)
            _steps(session, stop)


def _check_methods(run: RunConfig, model: nn.Module, cache: DatasetCache, targets: Targets) -> None:
    """Raises LTX2Error when a method does not fit the model, the clips or the layers."""
    layers = len(model.transformer_blocks)
    spans = resolve_routes(run.train.tread, layers)
    if run.train.crepa is not None:
        check_crepa(run.train.crepa, layers, spans)
    if run.train.audio_only:
        check_audio_only(cache, targets.modules)
    else:
        check_pictures(cache)


def train(
    run: RunConfig,
    model: nn.Module,
    cache: DatasetCache,
    *,
    directory: Path,
    residency: Residency,
    reporter: Reporter,
    stop: StopSignal,
    base: str = "",
    name: str = "adapter",
    validation: DatasetCache | None = None,
    references: References | None = None,
    regularisation: DatasetCache | None = None,
    vae: nn.Module | None = None,
    adapter: Adapter | None = None,
    engine: EngineFactory = EagerEngine,
    working_bytes: int = 0,
) -> TrainResult:
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

    Raises:
        Interrupted: ``stop`` was set; the state is saved.
        LTX2Error: the folder holds another run, a full disk, a loss that is not finite, no clips.
    """
    teacher = None if run.train.crepa is None else TeacherFeatures(cache.root, run.train.crepa)
    data = RunData(cache, validation, references, regularisation, teacher)
    facts = Facts.of(run, cache.digest, base, start=tensors_digest(adapter.state()) if adapter else "", **data.facts())
    scale = data.check(run.train.conditioning)
    checkpoints = Checkpointer(directory, run.train.keep_checkpoints)
    with torch.inference_mode(False), torch.enable_grad():
        checkpoints.clean()
        state, messages = checkpoints.newest()
        for text in messages:
            reporter.message(text, "warning")
        if state is not None:
            check_same_run(state.facts, facts, directory)
        if state is None or state.step < run.train.steps:
            targets = choose(run.lora.targets, len(model.transformer_blocks), cache.has_audio, run.train.audio_only)
            _check_methods(run, model, data.training, targets)
            reporter.message(targets.message if state is None else f"The run goes on at step {state.step} of {run.train.steps}.")
            if teacher is not None:
                make_features(data, vae, residency, reporter, stop)
            _train(run, model, data, targets, checkpoints, facts, state, residency, reporter, stop, adapter, engine, working_bytes)
            state, _ = checkpoints.newest()
        result = _result(run, model, cache, checkpoints, state, name)
        return result if scale is None else replace(result, adapter=replace(result.adapter, metadata={**result.adapter.metadata, **scale.metadata}))
