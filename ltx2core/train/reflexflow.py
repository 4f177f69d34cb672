"""ReflexFlow: two loss terms against the drift that a model's own steps bring (Huang et al. 2025).

Exposure: numbers whose prediction changes most when the exact state is replaced by the rolled-out one weigh more,
w = 1 + alpha |e| / mean |e| with e = v(exact) - v(rolled out), both without dropout and routes. The mean, not the sum, so
that w differs from 1 however many numbers a clip has. Anti-drift: the predicted velocity is to point from the data to where the state really is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import check_range


@dataclass(frozen=True)
class ReflexFlowSettings:
    """alpha: of the exposure weight. beta1: of the anti-drift term. beta2: of the velocity's loss itself."""

    alpha: float = 1.0
    beta1: float = 10.0
    beta2: float = 1.0

    def __post_init__(self) -> None:
        for name in ("alpha", "beta1", "beta2"):
            check_range(f"reflexflow.{name}", getattr(self, name), 0, 1e4)


def exposure_weight(error: Tensor, mask: Tensor, alpha: float) -> Tensor:
    """Weights [B, N, C]; 1 where there is no error, as in a sample that was not rolled out.

    Args:
        error: e [B, N, C], without gradient. mask: [B, N], the weights by which the mean is taken.
    """
    error = error.abs() * (mask > 0)[..., None]
    mean = (error.mean(2) * mask).sum(1) / mask.sum(1).clamp(min=1e-8)
    return 1 + alpha * error / mean.clamp(min=1e-12)[:, None, None]


def anti_drift(prediction: Tensor, drift: Tensor, mask: Tensor) -> Tensor:
    """[B] in 0..4: squared distance of the directions of ``prediction`` and ``drift`` (state - x0), each [B, N, C] as one vector.

    A sample without weight in ``mask`` has 0.
    """

    def direction(t: Tensor) -> Tensor:
        flat = (t.float() * (mask > 0)[..., None]).flatten(1)
        return flat / torch.linalg.vector_norm(flat, dim=1, keepdim=True).clamp(min=1e-12)

    return (direction(prediction) - direction(drift)).square().sum(1) * mask.any(1)
