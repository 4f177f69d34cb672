"""AdamW for an adapter, with a learning-rate schedule. No host sync in a step, so that it can be captured.

Decay, moments and bias correction: Loshchilov and Hutter 2019. Two ways to keep bf16 adapters learning, since an update
smaller than 1/256 of a weight is lost when it is rounded to nearest: a float32 master copy, or stochastic rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from .settings import TrainSettings

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def rate_at(settings: TrainSettings, step: int) -> float:
    """Learning rate of optimizer step ``step`` (from 0): a linear rise over ``warmup`` steps, then the schedule."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / (settings.warmup + 1)
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    factor = {"constant": 1.0, "linear": max(0.0, 1 - done), "cosine": 0.5 * (1 + math.cos(math.pi * min(1.0, done)))}
    return settings.learning_rate * factor[settings.schedule]


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


def _clip(gradients: list[Tensor], limit: float) -> Tensor:
    """Scale float32 ``gradients`` in place so that their joint norm is at most ``limit`` (0: only measure)."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if limit > 0:
        torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
    return norm


def _copy_into(targets: Mapping[str, Tensor], state: Mapping[str, Tensor], prefix: str) -> None:
    with torch.no_grad():
        for name, tensor in targets.items():
            key = prefix + name
            if key not in state or state[key].shape != tensor.shape:
                raise LTX2Error(f"The saved optimizer state does not fit this run ({key}); start a new run in another folder.")
            tensor.copy_(state[key])


class MasterAdamW:
    """torch's AdamW on a float32 copy of the parameters; float32 parameters are their own master."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], settings: TrainSettings):
        self._limit, self._scale = settings.max_grad_norm, 1 / settings.accumulation
        self._parameters = dict(parameters)
        self._masters = {n: p if p.dtype == torch.float32 else nn.Parameter(p.detach().float()) for n, p in parameters.items()}
        device = next(iter(self._parameters.values())).device
        self._rate = torch.zeros((), device=device)
        fast = device.type == "cuda"
        self._adam = torch.optim.AdamW(
            self._masters.values(), lr=self._rate, betas=BETAS, eps=EPSILON, weight_decay=settings.weight_decay,
            fused=fast or None, capturable=fast, foreach=None if fast else False,
        )  # fmt: skip
        for name, parameter in self._parameters.items():
            parameter.grad = torch.zeros_like(parameter)
            if self._masters[name] is not parameter:
                self._masters[name].grad = torch.zeros_like(self._masters[name])
        self._start_moments(device)

    def _start_moments(self, device: torch.device) -> None:
        """torch makes its state at the first step; made now, it has fixed addresses and can be loaded into."""
        for master in self._masters.values():
            self._adam.state[master] = {
                "step": torch.zeros((), device=device),
                "exp_avg": torch.zeros_like(master, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(master, requires_grad=False),
            }

    def set_rate(self, rate: float) -> None:
        self._rate.fill_(rate)

    @torch.no_grad()
    def step(self) -> Tensor:
        own, masters = list(self._parameters.values()), list(self._masters.values())
        apart = [(p, m) for p, m in zip(own, masters, strict=True) if p is not m]
        if apart:
            torch._foreach_copy_([m.grad for _, m in apart], [p.grad for p, _ in apart])
        gradients = [m.grad for m in masters]
        if self._scale != 1:
            torch._foreach_mul_(gradients, self._scale)
        norm = _clip(gradients, self._limit)
        self._adam.step()
        if apart:
            torch._foreach_copy_([p for p, _ in apart], [m for _, m in apart])
        torch._foreach_zero_([p.grad for p in own])
        return norm

    def _named_state(self) -> dict[str, Tensor]:
        moments = {f"{key}.{n}": t for n, m in self._masters.items() for key, t in self._adam.state[m].items()}
        return moments | {f"master.{n}": m for n, m in self._masters.items() if m is not self._parameters[n]}

    def state_dict(self) -> dict[str, Tensor]:
        return {k: t.detach() for k, t in self._named_state().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        _copy_into(self._named_state(), state, "")


class StochasticAdamW:
    """AdamW with bf16 parameters and bf16 moments: 6 bytes a parameter, gradients aside; computed in float32."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], settings: TrainSettings):
        if any(p.dtype != torch.bfloat16 for p in parameters.values()):
            raise LTX2Error("The optimizer adamw_bf16 needs an adapter in bf16; set dtype to bf16, or optimizer to adamw.")
        self._limit, self._scale, self._decay = settings.max_grad_norm, 1 / settings.accumulation, settings.weight_decay
        self._parameters = dict(parameters)
        self._mean = {n: torch.zeros_like(p, requires_grad=False) for n, p in parameters.items()}
        self._square = {n: torch.zeros_like(p, requires_grad=False) for n, p in parameters.items()}
        device = next(iter(self._parameters.values())).device
        self._rate, self._steps = torch.zeros((), device=device), torch.zeros((), device=device)
        for parameter in self._parameters.values():
            parameter.grad = torch.zeros_like(parameter)

    def set_rate(self, rate: float) -> None:
        self._rate.fill_(rate)

    @torch.no_grad()
    def step(self) -> Tensor:
        gradients = [p.grad.float() * self._scale for p in self._parameters.values()]
        norm = _clip(gradients, self._limit)
        self._steps += 1
        mean_scale, square_scale = 1 - BETAS[0] ** self._steps, 1 - BETAS[1] ** self._steps
        for (name, parameter), gradient in zip(self._parameters.items(), gradients, strict=True):
            mean = self._mean[name].float().lerp_(gradient, 1 - BETAS[0])
            square = self._square[name].float().lerp_(gradient**2, 1 - BETAS[1])
            change = (mean / mean_scale) / ((square / square_scale).sqrt() + EPSILON)
            value = parameter.float() * (1 - self._rate * self._decay) - self._rate * change
            for target, result in ((self._mean[name], mean), (self._square[name], square), (parameter, value)):
                target.copy_(stochastic_round(result))
            parameter.grad.zero_()
        return norm

    def _named_state(self) -> dict[str, Tensor]:
        return {f"mean.{n}": t for n, t in self._mean.items()} | {f"square.{n}": t for n, t in self._square.items()} | {"steps": self._steps}

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._named_state())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        _copy_into(self._named_state(), state, "")


def make_optimizer(parameters: Mapping[str, nn.Parameter], settings: TrainSettings) -> Optimizer:
    return StochasticAdamW(parameters, settings) if settings.optimizer == "adamw_bf16" else MasterAdamW(parameters, settings)
