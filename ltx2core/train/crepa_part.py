"""CREPA's moving parts in a run: the head with an optimizer of its own, its weight by step, and the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..distributed.world import ALONE, World, agreed
from ..errors import LTX2Error
from ..protocols import Reporter, Residency, StopSignal
from .batch import StepInputs
from .crepa import CrepaTerm, Threshold, make_head
from .data import RunData
from .optim import make_optimizer
from .randomness import generator
from .settings import TrainSettings


def make_features(data: RunData, vae: nn.Module | None, residency: Residency, reporter: Reporter, stop: StopSignal, world: World = ALONE) -> None:
    """The teacher's features of all clips to learn from, shared out over ``world``.

    Raises:
        LTX2Error: reference videos are used, or there is no VAE.
    """
    if data.references is not None:
        raise LTX2Error("CREPA cannot be used with reference videos, whose frames are no part of the clip; switch one of them off.")
    if vae is None and not data.teacher.settings.own_features:
        raise LTX2Error("CREPA decodes each clip once and needs the video VAE; give the checkpoint's.")
    with agreed(world):
        data.teacher.build(data.training, vae, residency, reporter, stop, world)


class CrepaPart:
    """``term`` goes into the objective; the rest is state of the run."""

    def __init__(self, settings: TrainSettings, model: nn.Module, data: RunData, device: torch.device):
        self._settings = settings
        width = model.proj_in.out_features
        features = data.teacher.read(data.training.clips[0]).shape[-1] or width
        head = make_head(width, features, generator(settings.seed, "crepa")).to(device)
        self.term = CrepaTerm(head, settings.crepa)
        # Float32 whatever the adapter is, so it has an optimizer of its own. Prodigy's rate is a factor of what it finds itself.
        kind = "prodigy" if settings.optimizer == "prodigy" else "adamw"
        self._optimizer = make_optimizer(head.parameters(), replace(settings, optimizer=kind))
        self.threshold = Threshold(settings.crepa)

    def weighted(self, inputs: StepInputs, step: int, regular: Tensor) -> StepInputs:
        """``inputs`` with lambda of optimizer step ``step``; 0 for the samples ``regular`` [B] bool, which stay as the base makes them."""
        weight = 0.0 if self.threshold.off else self._settings.crepa.weight_at(step, self._settings.steps)
        return replace(inputs, teacher_weight=torch.where(regular, 0.0, weight))

    def flat(self) -> tuple[Tensor, Tensor]:
        """The head's values and gradients, [total] each."""
        return self._optimizer.flat()

    def advance(self, rate: float) -> None:
        """Update the head from the gradients that the step left."""
        self._optimizer.set_rate(rate)
        self._optimizer.step()

    def state_dict(self) -> dict[str, Tensor]:
        head = {f"head.{n}": t for n, t in self.term.head.state_dict().items()}
        return head | {f"optimizer.{n}": t for n, t in self._optimizer.state_dict().items()} | self.threshold.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        def part(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(name + "."): t for k, t in state.items() if k.startswith(name + ".")}

        with torch.no_grad():
            for name, parameter in self.term.head.named_parameters():
                parameter.copy_(part("head")[name])
        self._optimizer.load_state_dict(part("optimizer"))
        self.threshold.load_state_dict(dict(state))
