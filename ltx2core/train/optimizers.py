"""The other optimizers, on flat parameters: Prodigy and Lion from their papers, Adafactor of torch, 8-bit AdamW of torchao."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from .flat import FlatParameters
from .optim import BETAS, EPSILON, PIECE, MasterAdamW, MasterCopy, Optimizer, StochasticAdamW, clip_norm, copy_into, stochastic_round
from .settings import TrainSettings


class Lion(MasterCopy):
    """Chen et al. 2023, algorithm 2: steps by the sign of a mix of momentum and gradient."""

    betas = (0.9, 0.99)

    def __init__(self, parameters: Iterable[nn.Parameter], settings: TrainSettings):
        super().__init__(parameters, settings)
        self._momentum = torch.zeros_like(self._flat.values, dtype=torch.float32)

    def update(self, value: Tensor, gradient: Tensor) -> None:
        direction = self._momentum.lerp(gradient, 1 - self.betas[0]).sign_()
        self.shrink(value, self._rate)
        value.sub_(direction.mul_(self._rate))
        self._momentum.lerp_(gradient, 1 - self.betas[1])

    def tensors(self) -> dict[str, Tensor]:
        return {"momentum": self._momentum}


class Prodigy(MasterCopy):
    """Mishchenko and Defazio 2024, algorithm 4 (Adam's form): estimates the distance d to the solution and steps by d * rate.

    The rate stands for their gamma and should be 1. State is float32; d begins at 1e-6 and never falls.
    """

    first_distance = 1e-6

    def __init__(self, parameters: Iterable[nn.Parameter], settings: TrainSettings):
        super().__init__(parameters, settings)
        self._start = self._master.detach().clone()
        self._mean, self._square, self._sum = (torch.zeros_like(self._start) for _ in range(3))
        self._distance = torch.full((), self.first_distance, device=self._start.device)
        # In float64: it is a sum of numbers of about d^2 = 1e-12.
        self._numerator = torch.zeros((), dtype=torch.float64, device=self._start.device)

    def update(self, value: Tensor, gradient: Tensor) -> None:
        d, slow = self._distance, math.sqrt(BETAS[1])
        self._mean.mul_(BETAS[0]).add_(gradient * (d * (1 - BETAS[0])))
        self._square.mul_(BETAS[1]).add_(gradient.square() * (d * d * (1 - BETAS[1])))
        weight = (1 - slow) * self._rate * d * d
        self._numerator.mul_(slow).add_(weight.double() * torch.dot(gradient, self._start - value).double())
        self._sum.mul_(slow).add_(gradient * weight)
        estimate = self._numerator / self._sum.abs().sum().double().clamp(min=1e-38)
        new = torch.maximum(d, estimate.float())
        # The step is taken with the d that entered it, as in the algorithm; the new one serves the next.
        change = self._mean / (self._square.sqrt() + d * EPSILON)
        self.shrink(value, self._rate * d)
        value.sub_(change * (self._rate * d))
        d.copy_(new)

    def tensors(self) -> dict[str, Tensor]:
        return {"start": self._start, "mean": self._mean, "square": self._square, "sum": self._sum, "distance": self._distance, "numerator": self._numerator}


class OneByOne(MasterCopy):
    """Each matrix is updated by itself, as a view of the flat master, by an optimizer of a library that ``make`` gives."""

    def __init__(self, parameters: Iterable[nn.Parameter], settings: TrainSettings):
        super().__init__(tuple(parameters), settings)
        self._views, start = [], self._flat.values.storage_offset()
        for parameter in self._flat.parameters:
            offset = parameter.storage_offset() - start
            view = nn.Parameter(self._master.detach()[offset : offset + parameter.numel()].view(parameter.shape))
            view.grad = self._master.grad[offset : offset + parameter.numel()].view(parameter.shape)
            self._views.append(view)
        decays = {True: settings.weight_decay, False: settings.weight_decay if settings.decay_vectors else 0.0}
        groups = {m: [v for v in self._views if (v.ndim > 1) == m] for m in (True, False)}
        self._inner = self.make([{"params": views, "weight_decay": decays[m]} for m, views in groups.items() if views])

    def make(self, groups: list[dict]) -> torch.optim.Optimizer:
        """With state as before the first step, so that it can be loaded into."""
        raise NotImplementedError

    def update(self, value: Tensor, gradient: Tensor) -> None:
        self._inner.step()

    def tensors(self) -> dict[str, Tensor]:
        return {f"{i}.{n}": t for i, view in enumerate(self._views) for n, t in self._inner.state[view].items() if isinstance(t, Tensor) and n not in _TELLTALES}


# What a library keeps for showing alone.
_TELLTALES = ("RMS",)


class Adafactor(OneByOne):
    """torch's Adafactor (Shazeer and Stern 2018), whose second moments are factored."""

    def make(self, groups: list[dict]) -> torch.optim.Optimizer:
        inner = torch.optim.Adafactor(groups, lr=self._rate, foreach=True)
        for view in self._views:
            inner.state[view] = _factored_state(view)
        return inner


class Came(OneByOne):
    """CAME (Luo et al. 2023) of the library pytorch-optimizer: factored moments, and a momentum weighed by how steady it is."""

    def make(self, groups: list[dict]) -> torch.optim.Optimizer:
        try:
            from pytorch_optimizer import CAME
        except ImportError as error:
            raise LTX2Error("The optimizer came needs the library pytorch-optimizer; run pip install pytorch-optimizer, or choose adafactor.") from error
        inner = CAME(groups, lr=0.0)
        for group in inner.param_groups:
            inner.init_group(group)
        return inner

    def set_rate(self, rate: float) -> None:
        for group in self._inner.param_groups:
            group["lr"] = rate


def _factored_state(view: Tensor) -> dict[str, Tensor]:
    """torch's state for one parameter, as it would make it at the first step; made now so that it can be loaded into."""
    state = {"step": torch.tensor(0.0)}
    if view.ndim > 1:
        return state | {"row_var": view.new_zeros((*view.shape[:-1], 1)), "col_var": view.new_zeros((*view.shape[:-2], 1, view.shape[-1]))}
    return state | {"variance": torch.zeros_like(view, requires_grad=False)}


class EightBitAdamW:
    """torchao's AdamW with both moments in 8 bits (Dettmers et al. 2022); a bf16 adapter is rounded stochastically."""

    def __init__(self, parameters: Iterable[nn.Parameter], settings: TrainSettings):
        from torchao.optim import AdamW8bit

        self._limit, self._scale = settings.max_grad_norm, 1 / settings.accumulation
        self._flat = FlatParameters(parameters)
        self._whole = nn.Parameter(self._flat.values)
        self._whole.grad = self._flat.gradients
        self._decay, self._decayed = settings.weight_decay, None if settings.decay_vectors or not settings.weight_decay else self._flat.matrices
        decay = self._decay if self._decayed is None else 0.0
        self._adam = AdamW8bit([self._whole], lr=0.0, betas=BETAS, eps=EPSILON, weight_decay=decay, bf16_stochastic_round=True)
        self._rate = self._adam.param_groups[0]["lr"]
        buffers = {n: self._adam._new_buffer(self._whole.detach(), signed) for n, signed in (("exp_avg", True), ("exp_avg_sq", False))}
        self._adam.state[self._whole] = {"step": torch.tensor(0.0), **buffers}

    def set_rate(self, rate: float) -> None:
        self._rate.fill_(rate)

    @torch.no_grad()
    def step(self) -> Tensor:
        if self._scale != 1:
            self._flat.gradients.mul_(self._scale)
        norm = clip_norm(self._flat.gradients, self._limit)
        if self._decayed is not None:
            self._shrink()
        with nullcontext() if _can_compile(self._whole.device) else torch.compiler.set_stance("force_eager"):
            self._adam.step()
        self._flat.gradients.zero_()
        return norm

    def _shrink(self) -> None:
        """Weight decay where vectors are among the weights; torchao knows one for all of the flat tensor."""
        values = self._flat.values
        for start in range(0, len(values), PIECE):
            piece = slice(start, start + PIECE)
            shrunk = values[piece].float() * (1 - self._rate * self._decay * self._decayed[piece])
            values[piece].copy_(stochastic_round(shrunk) if values.dtype == torch.bfloat16 else shrunk)

    def state_dict(self) -> dict[str, Tensor]:
        tensors = {}
        for name, value in self._adam.state[self._whole].items():
            parts = {"codes": value.codes, "scale": value.scale} if hasattr(value, "codes") else {"": value}
            tensors |= {f"{name}.{part}".rstrip("."): t for part, t in parts.items()}
        return tensors

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        copy_into(self.state_dict(), state)

    def flat(self) -> tuple[Tensor, Tensor]:
        return self._flat.values, self._flat.gradients

    def movable(self) -> list[Tensor]:
        return []  # small, and made of tensors inside tensors


def _can_compile(device: torch.device) -> bool:
    """torchao compiles its step; without Triton (Windows, CPU) the same arithmetic runs op by op."""
    from torch.utils._triton import has_triton

    return device.type == "cuda" and has_triton()


KINDS: dict[str, Callable[[Iterable[nn.Parameter], TrainSettings], Optimizer]] = {
    "adamw": MasterAdamW,
    "adamw_bf16": StochasticAdamW,
    "adamw_8bit": EightBitAdamW,
    "prodigy": Prodigy,
    "adafactor": Adafactor,
    "lion": Lion,
    "came": Came,
}
