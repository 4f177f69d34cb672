"""What training minimises: the velocity's error, averaged where it counts. Pure functions of tensors, no host sync."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .crepa import CrepaTerm
from .reflexflow import ReflexFlowSettings
from .settings import TrainSettings
from .tread import TreadRoute


@dataclass(frozen=True)
class Objective:
    """The part of the settings that shapes the loss; plain Python values, constant in a compiled step."""

    loss: str = "l2"
    huber_c: float = 0.1
    audio_weight: float = 1.0
    av_cross_timestep: str = "official"
    audio_only: bool = False
    tread: tuple[TreadRoute, ...] = ()
    reflexflow: ReflexFlowSettings | None = None
    crepa: CrepaTerm | None = None

    @classmethod
    def of(cls, settings: TrainSettings) -> Objective:
        return cls(settings.loss, settings.huber_c, settings.audio_weight, settings.av_cross_timestep, settings.audio_only, settings.tread, settings.reflexflow)


def add_noise(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """x = (1-sigma)*x0 + sigma*noise; ``sigma`` broadcasts."""
    return (1 - sigma) * x0 + sigma * noise


def velocity(x0: Tensor, noise: Tensor) -> Tensor:
    """The derivative of x by sigma."""
    return noise - x0


def pointwise_loss(prediction: Tensor, target: Tensor, kind: str, c: float) -> Tensor:
    """Error of each number, in float32 at least.

    l2: d^2. huber: pseudo-Huber 2c*(sqrt(d^2+c^2)-c), which is d^2 for d << c and 2c*|d| for d >> c.
    smooth_l1: 2*(sqrt(d^2+c^2)-c), which is d^2/c for d << c and 2*|d| for d >> c.
    """
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    squared = (prediction.to(dtype) - target.to(dtype)) ** 2
    if kind == "l2":
        return squared
    root = torch.sqrt(squared + c**2) - c
    return (2 * c if kind == "huber" else 2) * root


def masked_means(loss: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of loss [B, N, C] over the tokens of ``mask`` [B, N] (weights), by sample and over the batch.

    A sample whose mask is all zero has mean 0 and does not count in the batch's mean, so that clips without sound
    don't dilute those with it. A batch without any weight has mean 0 and no gradient.

    Returns:
        ([B], [])
    """
    weight = mask.sum(1)
    per_sample = (loss.mean(-1) * mask).sum(1) / weight.clamp(min=1e-8)
    counts = (weight > 0).to(per_sample.dtype)
    return per_sample, (per_sample * counts).sum() / counts.sum().clamp(min=1)
