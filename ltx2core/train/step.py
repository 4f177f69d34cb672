"""One forward pass and its losses: tensors in, tensors out, no host sync, so that it can be compiled and captured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from ..models.forward import BlockRunner, denoise, run_block, run_block_checkpointed
from .audio_only import denoise_audio
from .batch import StepInputs
from .objective import Objective, masked_means, pointwise_loss
from .tread import TreadRunner, resolve_routes


@dataclass(frozen=True)
class StepLosses:
    """Float32. total, video, audio: []; video_samples, audio_samples: [B], 0 where a sample has no such loss."""

    total: Tensor
    video: Tensor
    audio: Tensor
    video_samples: Tensor
    audio_samples: Tensor

    def detached(self) -> StepLosses:
        return StepLosses(*(t.detach() for t in vars(self).values()))


def training_step(model: nn.Module, inputs: StepInputs, objective: Objective, runner: BlockRunner | None = None) -> StepLosses:
    """Losses of one batch: video + audio_weight * audio. With weight 0 the sound is not in the graph at all."""
    if objective.audio_only:
        return _audio_step(model, inputs, objective, runner)
    if inputs.routes:
        runner = TreadRunner(runner or run_block, resolve_routes(objective.tread, len(model.transformer_blocks)), inputs.routes)
    video, audio = denoise(model, inputs.video.modality(), inputs.audio.modality(), av_cross_timestep=objective.av_cross_timestep, runner=runner)
    video_samples, video_loss = masked_means(pointwise_loss(video, inputs.video.target, objective.loss, objective.huber_c), inputs.video.mask)
    audio_samples, audio_loss = masked_means(pointwise_loss(audio, inputs.audio.target, objective.loss, objective.huber_c), inputs.audio.mask)
    total = video_loss if objective.audio_weight == 0 else video_loss + objective.audio_weight * audio_loss
    return StepLosses(total, video_loss, audio_loss, video_samples, audio_samples)


def _audio_step(model: nn.Module, inputs: StepInputs, objective: Objective, runner: BlockRunner | None) -> StepLosses:
    if runner not in (None, run_block, run_block_checkpointed):
        raise LTX2Error("Training sound alone works with plain weights only; switch quantisation, streaming and compiling off, it needs little memory.")
    audio = denoise_audio(model, inputs.audio.modality(), checkpointed=runner is run_block_checkpointed)
    samples, loss = masked_means(pointwise_loss(audio, inputs.audio.target, objective.loss, objective.huber_c), inputs.audio.mask)
    return StepLosses(objective.audio_weight * loss, torch.zeros_like(loss), loss, torch.zeros_like(samples), samples)


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
