"""The moving parts of one run between two checkpoints: one optimizer step, its losses, validation, saving."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from ..distributed.split import with_shares
from ..distributed.sums import GradientSum
from ..distributed.world import ALONE, World
from ..errors import LTX2Error
from ..protocols import Progress, Reporter
from . import measure
from .batch import StepInputs
from .crepa_part import CrepaPart
from .data import RunData
from .ema import Ema
from .feed import Batch, Feed
from .history import History, StepRecord
from .lora import InjectedLoRA
from .objective import Objective
from .optim import make_optimizer, rate_at
from .prior import with_prior
from .randomness import derive
from .rollout import draw_offsets, roll_out, with_reflexflow
from .sampler import BucketSampler
from .settings import RunConfig
from .sigma_buckets import NAMES
from .state import Checkpointer, Facts, TrainState
from .step import Engine
from .step_sums import StepSums
from .trackers import Trackers
from .validate import validation_loss
from .waiting import DataWait

# Steps between two reads of the losses on an accelerator: each read waits for the device.
READ_EVERY = 10


class Session:
    """``lora`` is inside the model, ``crepa`` inside the engine's objective; ``state`` is where to go on, None at the start. precision: see TrainState."""

    def __init__(self, run: RunConfig, lora: InjectedLoRA, data: RunData, engine: Engine, crepa: CrepaPart | None,
                 device: torch.device, checkpoints: Checkpointer, facts: Facts, state: TrainState | None, reporter: Reporter, trackers: Trackers, world: World = ALONE, precision: str = ""):  # fmt: skip
        self.precision = precision
        self.run, self.lora, self.data, self.engine, self.device = run, lora, data, engine, device
        self.checkpoints, self.facts, self.reporter, self.trackers, self.world = checkpoints, facts, reporter, trackers, world
        self.optimizer = make_optimizer(lora.parameters.values(), run.train)
        self.crepa = crepa
        self.ema = Ema(lora.parameters, run.train.ema_decay) if run.train.ema_decay else None
        self.sampler = BucketSampler(data.training, run.train.global_batch or run.train.batch_size, run.train.seed, fill=not run.train.global_batch)
        if run.train.global_batch and any(clip.batch_size for clip in data.training.clips):
            reporter.message("The batch_size of datasets is not used with a global batch; passes have the run's batch_size.", "warning")
        self.objective = Objective.of(run.train)
        self.step, self.seconds, self.peak, self.origin = 0, 0.0, 0, ""
        if state is not None:
            self._restore(state)
        flat = [self.optimizer.flat()] + ([crepa.flat()] if crepa else [])
        with torch.no_grad():
            self._gradients = [GradientSum(*f, world, run.train.global_batch > 0) for f in flat]
        self.sampler_state = self.sampler.state_dict()
        self.data_wait = DataWait()
        self.history = History.open(checkpoints.directory / "metrics.jsonl", self.step, written=world.rank == 0)
        self._unread: list[tuple[int, tuple[bool, bool], Tensor]] = []
        self._started = time.monotonic()

    @property
    def read_every(self) -> int:
        """Steps. CREPA's threshold looks at every one, so that where a run is cut changes no step."""
        watched = self.crepa is not None and self.run.train.crepa.similarity_threshold > 0
        return 1 if self.device.type == "cpu" or watched else READ_EVERY

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's inputs."""
        weight = self.lora.model.audio_proj_in.weight
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
        self.step, self.seconds, self.peak, self.origin = state.step, state.seconds, state.peak_bytes, state.origin

    def _state(self) -> TrainState:
        self.read_losses()
        tensors = {f"adapter.{n}": p for n, p in self.lora.parameters.items()}
        tensors |= {f"optimizer.{n}": t for n, t in self.optimizer.state_dict().items()}
        tensors |= {f"ema.{n}": t for n, t in self.ema.state_dict().items()} if self.ema else {}
        tensors |= {f"crepa.{n}": t for n, t in self.crepa.state_dict().items()} if self.crepa else {}
        now = time.monotonic()
        self.seconds, self._started = self.seconds + now - self._started, now
        self.peak = max(self.peak, measure.peak_bytes(self.device))
        return TrainState(self.step, tensors, self.sampler_state, self.facts.to_dict(), self.seconds, self.peak, self.origin, self.precision)

    def save(self) -> Path:
        return self.checkpoints.save(self._state())

    def rescue(self) -> Path:
        """Save the last whole step without asking the other processes, of which one is lost."""
        return self.checkpoints.rescue(self._state())

    def validate(self) -> None:
        if not self.run.train.validation_clips:
            return
        train = self.run.train
        model, training = self.lora.model, self.lora.model.training
        model.eval()  # no dropout in what is compared between steps
        with self.ema.applied() if self.ema else nullcontext():
            found = validation_loss(self.engine.evaluate, self.data.held_out, train.validation_clips, self.objective, self.dtype, train.seed, self.step,
                                    self.data.references, self.world, train.conditioning)  # fmt: skip
        model.train(training)
        self.history.add(found)
        self.trackers.log(found.step, {"validation/video": found.video, "validation/audio": found.audio})
        parts = [f"{name} {value:.4f}" for name, value in (("video", found.video), ("sound", found.audio)) if value is not None]
        self.reporter.message(f"Validation loss at step {self.step}: {', '.join(parts)}.")

    def _rolled(self, inputs: StepInputs, batch: Batch) -> StepInputs:
        """``inputs`` of ``batch`` with the states and terms of scheduled sampling and ReflexFlow."""
        rollout, reflex = self.run.train.rollout, self.run.train.reflexflow
        if not rollout.max_step_offset and reflex is None:
            return inputs
        offsets = draw_offsets(rollout, batch.slots, self.step, self.run.train.seed, batch.number)
        training, model = self.lora.model.training, self.lora.model
        model.eval()  # no dropout on the way
        inputs = inputs.to(self.device)
        rolled = roll_out(inputs, offsets, rollout, self.engine.predict)
        rolled = rolled if reflex is None else with_reflexflow(inputs, rolled, bool(offsets.any()), self.engine.predict)
        model.train(training)
        return rolled

    def _inputs(self, batch: Batch) -> StepInputs:
        """What the engine gets of ``batch``: with the methods' own forward passes done."""
        inputs = self._rolled(batch.inputs, batch)
        if batch.prior:
            inputs = with_prior(inputs.to(self.device), batch.regular, self.lora, self.engine.predict)
        return inputs if self.crepa is None else self.crepa.weighted(inputs, self.step, batch.regular)

    def advance(self, feed: Feed) -> None:
        """One optimizer step. Nothing of the state has changed when it fails."""
        train, begin, waited = self.run.train, time.monotonic(), feed.waited
        sums = StepSums(self.device)
        for batch in with_shares(feed.step(), self.world) if train.global_batch else feed.step():
            inputs = self._inputs(batch)
            self.lora.draw_masks(batch.number, batch.slots[0])
            sums.add(self.engine(inputs), batch)
            for gradient in self._gradients:
                gradient.add()
        means = sums.of_all(self.world) if train.global_batch else sums.means(train.accumulation)
        for gradient in self._gradients:
            gradient.finish()
        self.optimizer.set_rate(rate_at(train, self.step))
        torch.manual_seed(derive(train.seed, "step", self.step))  # of stochastic rounding, which all processes do alike
        norm = self.optimizer.step()
        if self.crepa is not None:
            self.crepa.advance(rate_at(train, self.step))
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.step)
        self.sampler_state = batch.sampler
        self._unread.append((self.step, sums.streams, torch.cat((means[:4], norm.reshape(1), means[4:]))))
        if len(self._unread) >= self.read_every:
            self.read_losses()
        self.data_wait.add(feed.waited - waited, time.monotonic() - begin)

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
        for record in records:
            self.trackers.log(record.step, _scalars(record))
        last = records[-1]
        metrics = {"loss": last.loss, "rate": last.rate, "gradient_norm": last.gradient_norm}
        metrics |= {name: value for name, value in (("video", last.video), ("audio", last.audio)) if value is not None}
        metrics |= {} if last.alignment is None else {"crepa": last.alignment}
        if (share := self.data_wait.share) is not None:
            metrics["data_wait"] = share
            self.trackers.log(last.step, {"train/data_wait": share})
        for name, values in (("video", last.video_by_sigma), ("audio", last.audio_by_sigma)):
            metrics |= {f"{name} sigma{edge}": value for edge, value in zip(NAMES, values, strict=True) if value is not None}
        self.reporter.progress(Progress("train", last.step, self.run.train.steps, metrics=metrics))


def _scalars(record: StepRecord) -> dict[str, float | None]:
    """A step's numbers under the names that trackers show."""
    values = {f"train/{n}": getattr(record, n) for n in ("loss", "video", "audio", "gradient_norm", "rate")} | {"train/crepa": record.alignment}
    for stream, losses in (("video", record.video_by_sigma), ("audio", record.audio_by_sigma)):
        values |= {f"train/{stream}_sigma{edge}": value for edge, value in zip(NAMES, losses, strict=True)}
    return values


def _by_sigma(values: Sequence[float]) -> tuple[tuple[float | None, ...], ...]:
    """Of video and of sound; None for a bucket without samples."""
    plain = tuple(None if math.isnan(v) else v for v in values)
    return plain[: len(NAMES)], plain[len(NAMES) :]
