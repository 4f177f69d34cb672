"""An exponential mean of the adapter's weights: what is validated and exported instead of the last step's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def decay_at(decay: float, step: int) -> float:
    """The decay of step ``step`` (from 1): lower at first, so that the start is forgotten soon."""
    return min(decay, step / (step + 9))


class Ema:
    """Float32 means of ``parameters``, on their device."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float):
        self._parameters, self._decay = parameters, decay
        self._means = {n: p.detach().float().clone() for n, p in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimizer step ``step``, counted from 1."""
        means, now = list(self._means.values()), [p.detach().float() for p in self._parameters.values()]
        torch._foreach_lerp_(means, now, 1 - decay_at(self._decay, step))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The means in place of the parameters, whose addresses stay, inside the block."""
        with torch.no_grad():
            kept = {n: p.detach().clone() for n, p in self._parameters.items()}
            self._fill(self._means)
        try:
            yield
        finally:
            self._fill(kept)

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._means)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, mean in self._means.items():
            mean.copy_(state[name])
