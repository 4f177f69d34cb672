"""A whole run: prepare, step, log, validate, save; stop and go on."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..cache.dataset import DatasetCache
from ..checkpoint.adapter import Adapter
from ..errors import LTX2Error
from ..models.handle import weight_dtype
from ..protocols import Interrupted, Progress, Reporter, Residency, StopSignal
from . import measure
from .audio_only import check_audio_only
from .feed import Feed
from .history import History, StepRecord
from .lora import InjectedLoRA, adapter_from_state, injected
from .objective import Objective
from .batch import StepInputs
from .crepa import check_crepa
from .crepa_part import CrepaPart, make_features
from .crepa_teacher import TeacherFeatures
from .data import RunData
from .ema import Ema
from .optim import make_optimizer, rate_at
from .randomness import derive
from .prior import with_prior
from .reference import References
from .rollout import draw_offsets, roll_out, with_reflexflow
from .sampler import BucketSampler
from .settings import RunConfig
from .sigma_buckets import NAMES, BucketSums
from .state import Checkpointer, Facts, TrainState, check_same_run, tensors_digest
from .step import EagerEngine, Engine, EngineFactory
from .targets import Targets, choose
from .tread import resolve_routes
from .validate import ValidationLoss, validation_loss

# Steps between two reads of the losses on an accelerator: each read waits for the device.
READ_EVERY = 10


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


class _Session:
    """The moving parts of one run between two checkpoints."""

    def __init__(self, run: RunConfig, lora: InjectedLoRA, data: RunData, engine: Engine, crepa: CrepaPart | None,
                 device: torch.device, checkpoints: Checkpointer, facts: Facts, state: TrainState | None, reporter: Reporter):  # fmt: skip
        self.run, self.lora, self.data, self.engine, self.device = run, lora, data, engine, device
        self.checkpoints, self.facts, self.reporter = checkpoints, facts, reporter
        self.optimizer = make_optimizer(lora.parameters.values(), run.train)
        self.crepa = crepa
        self.ema = Ema(lora.parameters, run.train.ema_decay) if run.train.ema_decay else None
        self.sampler = BucketSampler(data.training, run.train.batch_size, run.train.seed)
        self.objective = Objective.of(run.train)
        self.step, self.seconds, self.peak = 0, 0.0, 0
        if state is not None:
            self._restore(state)
        self.sampler_state = self.sampler.state_dict()
        self.history = History.open(checkpoints.directory / "metrics.jsonl", self.step)
        self._unread: list[tuple[int, tuple[bool, bool], Tensor]] = []
        self._started = time.monotonic()

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's inputs."""
        weight = self.lora.model.proj_in.weight
        return weight.dtype if weight.is_floating_point() else torch.bfloat16

    def _restore(self, state: TrainState) -> None:
        saved = state.part("adapter")
        with torch.no_grad():
            for name, parameter in self.lora.parameters.items():
                parameter.copy_(saved[name])
        self.optimizer.load_state_dict(state.part("optimizer"))
        if self.ema is not None:
            self.ema.load_state_dict(state.part("ema"))
        if self.crepa is not None:
            self.crepa.load_state_dict(state.part("crepa"))
        self.sampler.load_state_dict(state.sampler)
        self.step, self.seconds, self.peak = state.step, state.seconds, state.peak_bytes

    def save(self) -> Path:
        self.read_losses()
        tensors = {f"adapter.{n}": p for n, p in self.lora.parameters.items()}
        tensors |= {f"optimizer.{n}": t for n, t in self.optimizer.state_dict().items()}
        tensors |= {f"ema.{n}": t for n, t in self.ema.state_dict().items()} if self.ema else {}
        tensors |= {f"crepa.{n}": t for n, t in self.crepa.state_dict().items()} if self.crepa else {}
        now = time.monotonic()
        self.seconds, self._started = self.seconds + now - self._started, now
        self.peak = max(self.peak, measure.peak_bytes(self.device))
        return self.checkpoints.save(TrainState(self.step, tensors, self.sampler_state, self.facts.to_dict(), self.seconds, self.peak))

    def validate(self) -> None:
        if not self.run.train.validation_clips:
            return
        train = self.run.train
        model, training = self.lora.model, self.lora.model.training
        model.eval()  # no dropout in what is compared between steps
        with self.ema.applied() if self.ema else nullcontext():
            found = validation_loss(self.engine.evaluate, self.data.held_out, train.validation_clips, self.objective, self.dtype, train.seed, self.step,
                                    self.data.references)  # fmt: skip
        model.train(training)
        self.history.add(found)
        parts = [f"{name} {value:.4f}" for name, value in (("video", found.video), ("sound", found.audio)) if value is not None]
        self.reporter.message(f"Validation loss at step {self.step}: {', '.join(parts)}.")

    def _rolled(self, inputs: StepInputs, number: int) -> StepInputs:
        """Batch ``number`` with the states and terms of scheduled sampling and ReflexFlow."""
        rollout, reflex = self.run.train.rollout, self.run.train.reflexflow
        if not rollout.max_step_offset and reflex is None:
            return inputs
        offsets = draw_offsets(rollout, len(inputs.video.sigma), self.step, self.run.train.seed, number)
        training, model = self.lora.model.training, self.lora.model
        model.eval()  # no dropout on the way
        inputs = inputs.to(self.device)
        rolled = roll_out(inputs, offsets, rollout, self.engine.predict)
        rolled = rolled if reflex is None else with_reflexflow(inputs, rolled, bool(offsets.any()), self.engine.predict)
        model.train(training)
        return rolled

    def advance(self, feed: Feed) -> None:
        """One optimizer step."""
        train = self.run.train
        torch.manual_seed(derive(train.seed, "step", self.step))
        sums = torch.zeros(4, device=self.device)
        with_video = with_sound = 0
        video_buckets, audio_buckets = BucketSums(self.device), BucketSums(self.device)
        for part in range(train.accumulation):
            batch = feed.next()
            inputs = self._rolled(batch.inputs, self.step * train.accumulation + part)
            if batch.regular.any():
                inputs = with_prior(inputs.to(self.device), batch.regular, self.lora, self.engine.predict)
            if self.crepa is not None:
                inputs = self.crepa.weighted(inputs, self.step)
            losses = self.engine(inputs)
            sums += torch.stack((losses.total, losses.video, losses.audio, losses.alignment))
            video_buckets.add(losses.video_samples, batch.inputs.video.sigma, batch.inputs.video.mask)
            audio_buckets.add(losses.audio_samples, batch.inputs.audio.sigma, batch.inputs.audio.mask)
            with_video += batch.has_video
            with_sound += batch.has_audio
        self.optimizer.set_rate(rate_at(train, self.step))
        norm = self.optimizer.step()
        if self.crepa is not None:
            self.crepa.advance(rate_at(train, self.step))
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.step)
        self.sampler_state = batch.sampler
        means = sums / torch.tensor([train.accumulation, max(1, with_video), max(1, with_sound), train.accumulation], device=self.device)
        self._unread.append((self.step, (with_video > 0, with_sound > 0), torch.cat((means, norm.reshape(1), video_buckets.means(), audio_buckets.means()))))
        if self.device.type == "cpu" or len(self._unread) >= READ_EVERY:
            self.read_losses()

    def read_losses(self) -> None:
        """Bring the losses of the last steps to the host, log and report them.

        Raises:
            LTX2Error: a loss is not finite. Nothing is saved then, so the last checkpoint is sound.
        """
        if not self._unread:
            return
        values = torch.stack([t for _, _, t in self._unread]).tolist()
        records = []
        for (step, (picture, sound), _), (loss, video, audio, score, norm, *buckets) in zip(self._unread, values, strict=True):
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise LTX2Error(f"The loss became {loss} (gradient norm {norm}) at step {step}; lower the learning rate, the last checkpoint is untouched.")
            records.append(StepRecord(step, loss, video if picture else None, audio if sound else None, norm, rate_at(self.run.train, step - 1),
                                      *_by_sigma(buckets), score if self.crepa else None))  # fmt: skip
            if self.crepa is not None:
                self.crepa.threshold.update(score)
        self._unread.clear()
        self.history.add(*records)
        last = records[-1]
        metrics = {"loss": last.loss, "rate": last.rate, "gradient_norm": last.gradient_norm}
        metrics |= {name: value for name, value in (("video", last.video), ("audio", last.audio)) if value is not None}
        metrics |= {} if last.alignment is None else {"crepa": last.alignment}
        for name, values in (("video", last.video_by_sigma), ("audio", last.audio_by_sigma)):
            metrics |= {f"{name} sigma{edge}": value for edge, value in zip(NAMES, values, strict=True) if value is not None}
        self.reporter.progress(Progress("train", last.step, self.run.train.steps, metrics=metrics))


def _by_sigma(values: Sequence[float]) -> tuple[tuple[float | None, ...], ...]:
    """Of video and of sound; None for a bucket without samples."""
    plain = tuple(None if math.isnan(v) else v for v in values)
    return plain[: len(NAMES)], plain[len(NAMES) :]


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _steps(session: _Session, stop: StopSignal) -> None:
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
            if done or _due(session.step, train.checkpoint_every):
                session.save()


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
            session = _Session(run, lora, data, step, crepa, device, checkpoints, facts, state, reporter)
            _steps(session, stop)


def _check_methods(run: RunConfig, model: nn.Module, cache: DatasetCache, targets: Targets) -> None:
    """Raises LTX2Error when a method does not fit the model, the clips or the layers."""
    layers = len(model.transformer_blocks)
    spans = resolve_routes(run.train.tread, layers)
    if run.train.crepa is not None:
        check_crepa(run.train.crepa, layers, spans)
    if run.train.audio_only:
        check_audio_only(cache, targets.modules)


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
