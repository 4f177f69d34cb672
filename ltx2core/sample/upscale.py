"""Latents at twice the height and width, without a trip through pixels."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..errors import LTX2Error
from ..models.handle import Models
from ..models.upsampler import Upsampler, upsample, upsample_working_bytes
from ..protocols import Residency
from .loop import Latents


@torch.no_grad()
def upscale_latents(latents: Latents, models: Models, upsampler: Upsampler, residency: Residency) -> Latents:
    """``latents`` with video [B, 128, F', 2H', 2W']; their sound is passed on.

    Args:
        models: whose VAE has the statistics of the latents' channels.

    Raises:
        LTX2Error: latents of a video that was only given a sound.
    """
    if latents.pictures is not None:
        raise LTX2Error("These latents are of a video that was given and only got sound; there is nothing to enlarge.")
    dtype = torch.float32 if residency.device.type == "cpu" else models.dtype
    module = upsampler.load(dtype)
    working = upsample_working_bytes(*latents.video.shape[2:], upsampler, dtype)
    with residency.use(module, working):
        # One sample at a time: the middle channels of a batch need much memory, and time is short either way.
        large = [upsample(module, models.component("video_vae"), sample[None].to(residency.device)).cpu() for sample in latents.video]
    residency.release(module)
    return replace(latents, video=torch.cat(large))
