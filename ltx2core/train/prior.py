"""Prior preservation: for regularisation clips the target is what the base predicts, so that the adapter leaves them as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from .batch import StepInputs
from .lora import InjectedLoRA
from .rollout import Predict


@contextmanager
def without_adapter(lora: InjectedLoRA) -> Iterator[None]:
    """The base alone inside the block: the adapter's numbers are replaced in place, so that captured steps see it too."""
    with torch.no_grad():
        kept = {n: p.detach().clone() for n, p in lora.parameters.items()}
        for name, value in lora.neutral.items():
            lora.parameters[name].copy_(value)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in lora.parameters.items():
                parameter.copy_(kept[name])


def with_prior(inputs: StepInputs, regular: Tensor, lora: InjectedLoRA, predict: Predict) -> StepInputs:
    """``inputs`` with the base's velocities as targets of the samples ``regular`` [B] bool; on the device of ``inputs``.

    ReflexFlow's direction is the base's too, so that nothing draws these samples away from it.
    """
    training = lora.model.training
    lora.model.eval()
    with without_adapter(lora):
        velocities = predict(replace(inputs, routes=()))
    lora.model.train(training)
    chosen = regular.to(inputs.video.target.device)[:, None, None]
    streams = []
    for stream, velocity in zip((inputs.video, inputs.audio), velocities, strict=True):
        target, drift = (t if t is None else torch.where(chosen, velocity.to(t.dtype), t) for t in (stream.target, stream.drift))
        streams.append(replace(stream, target=target, drift=drift))
    return replace(inputs, video=streams[0], audio=streams[1])
