"""Training all weights of a small transformer, so that a tiny random checkpoint learns to denoise.

Not for the real model: there is no offloading, no checkpoint, and the optimizer holds three copies of the weights.
"""

from __future__ import annotations

import torch
from torch import nn

from ..cache.dataset import DatasetCache
from .batch import prepare
from .objective import Objective
from .sampler import BucketSampler
from .settings import TrainSettings
from .step import training_step


def train_base(model: nn.Module, cache: DatasetCache, settings: TrainSettings) -> list[float]:
    """Train every weight of ``model`` in place for ``settings.steps`` steps on the CPU; it ends frozen, in eval mode.

    Args:
        model: the transformer in float32.

    Returns:
        The loss of every step.
    """
    objective, sampler, losses = Objective.of(settings), BucketSampler(cache, settings.batch_size, settings.seed), []
    with torch.inference_mode(False), torch.enable_grad():
        model.requires_grad_(True)
        adam = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0, foreach=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(adam, settings.learning_rate, total_steps=settings.steps)
        for step in range(settings.steps):
            inputs = prepare([cache[i] for i in sampler.next()], step, settings, torch.float32)
            loss = training_step(model, inputs, objective).total
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            adam.step()
            schedule.step()
            adam.zero_grad()
            losses.append(loss.item())
        model.requires_grad_(False)
    model.eval()
    return losses
