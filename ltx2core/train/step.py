"""One forward pass and its losses: tensors in, tensors out, no host sync, so that it can be compiled and captured."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from ..models.forward import BlockRunner, denoise, run_block, run_block_checkpointed
from .audio_only import denoise_audio
from .batch import StepInputs, StreamInputs
from .crepa import CaptureRunner
from .objective import Objective, masked_means, pointwise_loss
from .reflexflow import anti_drift, exposure_weight
from .tread import TreadRunner, resolve_routes


@dataclass(frozen=True)
class StepLosses:
    """Float32. total, video, audio: []; video_samples, audio_samples: [B], 0 where a sample has no such loss.

    alignment: CREPA's score [], 0 without it. Of a part of a global batch, total, video, audio and alignment are its shares of them.
    """

    total: Tensor
    video: Tensor
    audio: Tensor
    video_samples: Tensor
    audio_samples: Tensor
    alignment: Tensor

    def detached(self) -> StepLosses:
        return StepLosses(*(t.detach() for t in vars(self).values()))


def stream_loss(prediction: Tensor, stream: StreamInputs, objective: Objective) -> tuple[Tensor, Tensor]:
    """Loss of one stream by sample [B] and over the batch []; with ReflexFlow's terms where the batch carries them."""
    loss = pointwise_loss(prediction, stream.target, objective.loss, objective.huber_c)
    reflex = objective.reflexflow
    if reflex is None or stream.drift is None:
        return masked_means(loss, stream.mask)
    if stream.error is not None:
        loss = loss * exposure_weight(stream.error, stream.mask, reflex.alpha)
    samples, mean = masked_means(loss, stream.mask)
    drift = anti_drift(prediction, stream.drift, stream.mask)
    counted = stream.mask.any(1).sum().clamp(min=1)
    return reflex.beta2 * samples + reflex.beta1 * drift, reflex.beta2 * mean + reflex.beta1 * drift.sum() / counted


def training_step(model: nn.Module, inputs: StepInputs, objective: Objective, runner: BlockRunner | None = None) -> StepLosses:
    """Losses of one batch: video + audio_weight * audio. With weight 0 the sound is not in the graph at all."""
    if objective.audio_only:
        return _audio_step(model, inputs, objective, runner)
    if inputs.routes:
        runner = TreadRunner(runner or run_block, resolve_routes(objective.tread, len(model.transformer_blocks)), inputs.routes)
    if inputs.teacher is not None:
        runner = CaptureRunner(runner or run_block, objective.crepa.settings)
    video, audio = denoise(model, inputs.video.modality(), inputs.audio.modality(), av_cross_timestep=objective.av_cross_timestep, runner=runner)
    video_samples, video_loss = stream_loss(video, inputs.video, objective)
    audio_samples, audio_loss = stream_loss(audio, inputs.audio, objective)
    if inputs.shares is not None:
        video_loss, audio_loss = video_loss * inputs.shares[0], audio_loss * inputs.shares[1]
    total = video_loss if objective.audio_weight == 0 else video_loss + objective.audio_weight * audio_loss
    alignment = torch.zeros_like(total)
    if inputs.teacher is not None:
        scores = objective.crepa.score(runner, inputs.teacher)
        scores = scores if inputs.shares is None else scores * inputs.shares[2]
        alignment, total = scores.mean(), total - (inputs.teacher_weight * scores).mean()
    return StepLosses(total, video_loss, audio_loss, video_samples, audio_samples, alignment)


def _audio_step(model: nn.Module, inputs: StepInputs, objective: Objective, runner: BlockRunner | None) -> StepLosses:
    if runner not in (None, run_block, run_block_checkpointed):
        raise LTX2Error("Training sound alone works with plain weights only; switch quantisation, streaming and compiling off, it needs little memory.")
    audio = denoise_audio(model, inputs.audio.modality(), checkpointed=runner is run_block_checkpointed)
    samples, loss = stream_loss(audio, inputs.audio, objective)
    loss = loss if inputs.shares is None else loss * inputs.shares[1]
    return StepLosses(objective.audio_weight * loss, torch.zeros_like(loss), loss, torch.zeros_like(samples), samples, torch.zeros_like(loss))


@torch.no_grad()
def velocities(model: nn.Module, inputs: StepInputs, objective: Objective, runner: BlockRunner | None) -> tuple[Tensor, Tensor]:
    """What :meth:`Engine.predict` gives, on the inputs' device. Where sound is trained alone, the picture's are zeros."""
    if objective.audio_only:
        return torch.zeros_like(inputs.video.target), denoise_audio(model, inputs.audio.modality()).float()
    video, audio = denoise(model, inputs.video.modality(), inputs.audio.modality(), av_cross_timestep=objective.av_cross_timestep, runner=runner)
    return video.float(), audio.float()


class Engine(Protocol):
    """How a step is run. The plain one is below; compiled, captured and streamed ones live in ``memory``."""

    def __call__(self, inputs: StepInputs) -> StepLosses:
        """Forward and backward: ADD the gradient of ``total`` to the adapter parameters' ``.grad``. Losses are detached.

        ``inputs`` lie on the CPU or the device; their tensors are the engine's to keep until it returns.
        """
        ...

    def evaluate(self, inputs: StepInputs) -> StepLosses:
        """Forward only."""
        ...

    def predict(self, inputs: StepInputs) -> tuple[Tensor, Tensor]:
        """Velocities of picture and sound, float32 [B, N, C] on the device, without gradient and routes."""
        ...

    def plain_blocks(self) -> AbstractContextManager[None]:
        """Inside, the model's blocks can be called as they are, with their weights and the adapter: for sampling."""
        ...


# Called once, after the adapter is injected and the model lies on the device.
EngineFactory = Callable[[nn.Module, Objective, torch.device, bool], Engine]


class EagerEngine:
    """Autograd, block by block; ``checkpointing`` recomputes each block in backward."""

    def __init__(self, model: nn.Module, objective: Objective, device: torch.device, checkpointing: bool):
        self._model, self._objective, self._device = model, objective, device
        self._runner = run_block_checkpointed if checkpointing else run_block

    def __call__(self, inputs: StepInputs) -> StepLosses:
        losses = training_step(self._model, inputs.to(self._device), self._objective, self._runner)
        losses.total.backward()
        return losses.detached()

    def evaluate(self, inputs: StepInputs) -> StepLosses:
        with torch.no_grad():
            return training_step(self._model, inputs.to(self._device), self._objective, run_block)

    def predict(self, inputs: StepInputs) -> tuple[Tensor, Tensor]:
        return velocities(self._model, inputs.to(self._device), self._objective, run_block)

    def plain_blocks(self) -> AbstractContextManager[None]:
        return nullcontext()
