"""Which tokens of a clip are given clean in training: they have timestep 0 and no loss.

Every kind of conditioning is a boolean grid over the latent cells, so kinds combine by "or".
"""

from __future__ import annotations

import torch
from torch import Tensor

from .randomness import generator
from .settings import TrainSettings


def happens(probability: float, seed: int, *purpose: int | str) -> bool:
    """One draw of a coin that falls true with ``probability``."""
    if probability <= 0:
        return False
    return probability >= 1 or torch.rand((), generator=generator(seed, *purpose)).item() < probability


def first_frame(shape: tuple[int, int, int]) -> Tensor:
    """[F, H, W] bool, true in the first latent frame."""
    grid = torch.zeros(shape, dtype=torch.bool)
    grid[0] = True
    return grid


def clean_video_tokens(settings: TrainSettings, shape: tuple[int, int, int], step: int, slot: int) -> Tensor:
    """[F*H*W] bool: the video tokens that sample ``slot`` of batch ``step`` is given clean.

    A clip of one latent frame (a picture) is never given whole: nothing would be left to learn.
    """
    grid = torch.zeros(shape, dtype=torch.bool)
    if shape[0] > 1 and happens(settings.first_frame_probability, settings.seed, "first_frame", step, slot):
        grid |= first_frame(shape)
    return grid.flatten()
