"""Noise of a seed, the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from .settings import SampleSettings


def make_noise(settings: SampleSettings) -> tuple[Tensor, Tensor]:
    """(video [B, 128, F', H', W'], audio [B, 8, T, 16]) float32 on the CPU; one seed a sample."""
    video, audio = [], []
    for seed in settings.sample_seeds:
        generator = torch.Generator().manual_seed(seed)
        video.append(torch.randn(1, 128, *settings.latent_size, generator=generator))
        audio.append(torch.randn(1, 8, settings.audio_length, 16, generator=generator))
    return torch.cat(video), torch.cat(audio)


def noise_beside(settings: SampleSettings, cells: tuple[int, int, int], salt: int) -> Tensor:
    """[B, 128, *cells] float32 on the CPU for tokens beside the clip's; ``salt`` keeps it apart from the clip's own noise."""
    noise = [torch.randn(1, 128, *cells, generator=torch.Generator().manual_seed((s ^ salt << 32) % 2**63)) for s in settings.sample_seeds]
    return torch.cat(noise)
