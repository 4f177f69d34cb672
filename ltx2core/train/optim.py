"""Optimizers' common part, AdamW, and the learning-rate schedule. No host sync in a step, so that it can be captured.

Decay, moments and bias correction: Loshchilov and Hutter 2019. Two ways to keep bf16 adapters learning, since an update
smaller than 1/256 of a weight is lost when it is rounded to nearest: a float32 master copy, or stochastic rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils._triton import has_triton

from ..errors import LTX2Error
from .flat import FlatParameters
from .settings import TrainSettings

BETAS = (0.9, 0.999)
EPSILON = 1e-8
# Numbers that are in float32 at one time while bf16 ones are updated.
PIECE = 1 << 24


def rate_at(settings: TrainSettings, step: int) -> float:
    """Learning rate of optimizer step ``step`` (from 0): a linear rise over ``warmup`` steps, then the schedule.

    A falling schedule goes from 1 to ``schedule_end`` of the learning rate, ``restarts`` of cosine begin anew at 1.
    """
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / (settings.warmup + 1)
    done = min(1.0, (step - settings.warmup) / max(1, settings.steps - settings.warmup))
    cycle = (done * (settings.schedule_restarts + 1)) % 1 if done < 1 else 1.0
    factor = {
        "constant": 1.0,
        "linear": 1 - done,
        "cosine": 0.5 * (1 + math.cos(math.pi * cycle)),
        "polynomial": (1 - done) ** settings.schedule_power,
    }[settings.schedule]
    end = 0.0 if settings.schedule == "constant" else settings.schedule_end
    return settings.learning_rate * (end + (1 - end) * factor)


def stochastic_round(values: Tensor) -> Tensor:
    """Float32 to bfloat16, up or down with the chance that makes the mean exact; draws from torch's own generator."""
    bits = values.view(torch.int32) + torch.randint_like(values, 1 << 16, dtype=torch.int32)
    return (bits & -65536).view(torch.float32).to(torch.bfloat16)


class Optimizer(Protocol):
    def set_rate(self, rate: float) -> None: ...

    def step(self) -> Tensor:
        """Clip and apply the parameters' gradients, and zero them in place. Returns the norm before clipping, []."""
        ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None: ...

    def flat(self) -> tuple[Tensor, Tensor]:
        """All parameters' values and gradients, [total] each, sharing their memory."""
        ...

    def movable(self) -> list[Tensor]:
        """State that may lie elsewhere between two steps: tensors of their own memory, which no parameter shares."""
        ...


def clip_norm(gradient: Tensor, limit: float) -> Tensor:
    """Scale the float32 ``gradient`` in place so that its norm is at most ``limit`` (0: only measure). Returns the norm before."""
    norm = torch.linalg.vector_norm(gradient)
    if limit > 0:
        gradient.mul_((limit / (norm + 1e-6)).clamp(max=1.0))
    return norm


def copy_into(targets: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in targets.items():
            if name not in state or state[name].shape != tensor.shape:
                raise LTX2Error(f"The saved optimizer state does not fit this run ({name}); start a new run in another folder.")
            tensor.copy_(state[name])


class MasterCopy:
    """A float32 copy of the parameters in one flat tensor; float32 parameters are their own master.

    A subclass gives ``update`` (apply the master's gradient) and ``tensors`` (its own state).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], settings: TrainSettings):
        self._limit, self._scale, self._decay = settings.max_grad_norm, 1 / settings.accumulation, settings.weight_decay
        self._flat = FlatParameters(parameters)
        self._apart = self._flat.values.dtype != torch.float32
        self._master = nn.Parameter(self._flat.values.float())
        self._master.grad = torch.zeros_like(self._master) if self._apart else self._flat.gradients
        self._rate = torch.zeros((), device=self._master.device)
        self._decayed = None if settings.decay_vectors or not settings.weight_decay else self._flat.matrices

    def set_rate(self, rate: float) -> None:
        self._rate.fill_(rate)

    def shrink(self, value: Tensor, rate: Tensor) -> None:
        """Weight decay, decoupled from the gradient: value *= 1 - rate * decay, where weights decay."""
        value.mul_(1 - rate * self._decay if self._decayed is None else 1 - rate * self._decay * self._decayed)

    def update(self, value: Tensor, gradient: Tensor) -> None:
        """Change the flat float32 ``value`` in place."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        raise NotImplementedError

    @torch.no_grad()
    def step(self) -> Tensor:
        gradient = self._master.grad
        if self._apart:
            gradient.copy_(self._flat.gradients)
        if self._scale != 1:
            gradient.mul_(self._scale)
        norm = clip_norm(gradient, self._limit)
        self.update(self._master.detach(), gradient)
        if self._apart:
            self._flat.values.copy_(self._master)
        self._flat.gradients.zero_()
        return norm

    def state_dict(self) -> dict[str, Tensor]:
        state = self.tensors()
        return state | {"master": self._master.detach()} if self._apart else state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        copy_into(self.state_dict(), state)

    def flat(self) -> tuple[Tensor, Tensor]:
        return self._flat.values, self._flat.gradients

    def movable(self) -> list[Tensor]:
        return [t for t in self.tensors().values() if t.ndim]


class MasterAdamW(MasterCopy):
    """torch's AdamW."""

    def __init__(self, parameters: Iterable[nn.Parameter], settings: TrainSettings):
        super().__init__(parameters, settings)
        fast, decay = self._master.device.type == "cuda", settings.weight_decay if self._decayed is None else 0.0
        self._adam = torch.optim.AdamW([self._master], lr=self._rate, betas=BETAS, eps=EPSILON, weight_decay=decay, fused=fast or None, capturable=fast)
        # torch makes its state at the first step; made now, it has fixed addresses and can be loaded into.
        self._adam.state[self._master] = {
            "step": torch.zeros((), device=self._master.device),
            "exp_avg": torch.zeros_like(self._master, requires_grad=False),
            "exp_avg_sq": torch.zeros_like(self._master, requires_grad=False),
        }

    def update(self, value: Tensor, gradient: Tensor) -> None:
        if self._decayed is not None:
            self.shrink(value, self._rate)  # torch's would take all of the flat tensor
        self._adam.step()

    def tensors(self) -> dict[str, Tensor]:
        return dict(self._adam.state[self._master])


class StochasticAdamW:
    """AdamW with bf16 parameters and bf16 moments, 6 bytes a parameter, gradients aside; computed in float32, in pieces."""

    def __init__(self, parameters: Iterable[nn.Parameter], settings: TrainSettings):
        self._limit, self._scale, self._decay = settings.max_grad_norm, 1 / settings.accumulation, settings.weight_decay
        self._flat = FlatParameters(parameters)
        if self._flat.values.dtype != torch.bfloat16:
            raise LTX2Error("The optimizer adamw_bf16 needs an adapter in bf16; set dtype to bf16, or optimizer to adamw.")
        self._decayed = None if settings.decay_vectors or not settings.weight_decay else self._flat.matrices
        self._mean, self._square = torch.zeros_like(self._flat.values), torch.zeros_like(self._flat.values)
        self._rate, self._steps = (torch.zeros((), device=self._mean.device) for _ in range(2))

    def set_rate(self, rate: float) -> None:
        self._rate.fill_(rate)

    @torch.no_grad()
    def step(self) -> Tensor:
        norm = torch.linalg.vector_norm(self._flat.gradients, dtype=torch.float32) * self._scale
        factor = self._scale * (self._limit / (norm + 1e-6)).clamp(max=1.0) if self._limit > 0 else self._scale
        self._steps += 1
        scales = 1 - BETAS[0] ** self._steps, 1 - BETAS[1] ** self._steps
        if self._mean.is_cuda and has_triton() and self._decayed is None:
            from .adamw_kernel import adamw

            factor = torch.as_tensor(factor, dtype=torch.float32, device=self._mean.device)
            adamw(self._flat.values, self._flat.gradients, self._mean, self._square, factor, self._rate, scales, BETAS, EPSILON, self._decay)
            return norm
        for start in range(0, len(self._mean), PIECE):
            self._update(slice(start, start + PIECE), factor, *scales)
        self._flat.gradients.zero_()
        return norm

    def _update(self, piece: slice, factor: Tensor | float, mean_scale: Tensor, square_scale: Tensor) -> None:
        gradient = self._flat.gradients[piece].float() * factor
        mean = self._mean[piece].float().lerp_(gradient, 1 - BETAS[0])
        square = self._square[piece].float().lerp_(gradient**2, 1 - BETAS[1])
        change = (mean / mean_scale) / ((square / square_scale).sqrt() + EPSILON)
        decay = self._decay if self._decayed is None else self._decay * self._decayed[piece]
        value = self._flat.values[piece].float() * (1 - self._rate * decay) - self._rate * change
        for target, result in ((self._mean, mean), (self._square, square), (self._flat.values, value)):
            target[piece].copy_(stochastic_round(result))

    def state_dict(self) -> dict[str, Tensor]:
        return {"mean": self._mean, "square": self._square, "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        copy_into(self.state_dict(), state)

    def flat(self) -> tuple[Tensor, Tensor]:
        return self._flat.values, self._flat.gradients

    def movable(self) -> list[Tensor]:
        return [self._mean, self._square]


def make_optimizer(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> Optimizer:
    """Takes over the memory of ``parameters`` (see ``flat.py``): their addresses are fixed afterwards."""
    from .optimizers import KINDS  # they are built on what is above

    return KINDS[settings.optimizer](parameters, settings)
