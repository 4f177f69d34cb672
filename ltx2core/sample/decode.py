"""Latents to a clip that can be seen and heard."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry import pixel_frames
from ..media.audio import Waveform, fit_length
from ..models.audio import OUTPUT_RATE, decode_audio_latents
from ..models.handle import Models
from ..models.vae_memory import PLAIN, Tiling, VaeMemory, usual_memory
from ..models.video import decode_video_latents, decode_working_bytes
from ..protocols import Progress, Reporter, Residency
from .loop import Latents


@dataclass(frozen=True)
class Clip:
    """frames uint8 [F, H, W, 3] and their sound."""

    frames: Tensor
    waveform: Waveform | None
    frame_rate: float


def to_frames(pixels: Tensor) -> Tensor:
    """float [3, F, H, W] in [-1, 1] -> uint8 [F, H, W, 3] on the CPU."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).cpu()


def _memory(tiled: bool | None, device: torch.device) -> VaeMemory:
    if tiled is None:
        return usual_memory(device)
    return VaeMemory(tiling=Tiling(), temporal_roll=True) if tiled else PLAIN


@torch.no_grad()
def decode(latents: Latents, models: Models, *, residency: Residency, reporter: Reporter | None = None, tiled: bool | None = None) -> list[Clip]:
    """One clip a sample; its sound or its pictures are those that were given where the other was made for them.

    Args:
        tiled: in tiles streamed in time, the least memory; False: all at once; None: streamed in time on a card, without seams.
    """
    frames = pixel_frames(latents.video.shape[2])
    pictures = [latents.pictures] * len(latents.video) if latents.pictures is not None else _pictures(latents, models, residency, reporter, tiled)
    seconds = frames / latents.frame_rate
    if latents.sound is not None:
        return [Clip(p, fit_length(latents.sound, seconds), latents.frame_rate) for p in pictures]
    audio_vae, vocoder = models.component("audio_vae"), models.component("vocoder")
    with residency.use(audio_vae), residency.use(vocoder):
        samples = decode_audio_latents(audio_vae, vocoder, latents.audio.to(residency.device)).cpu()
    return [Clip(p, fit_length(Waveform(s, OUTPUT_RATE), seconds), latents.frame_rate) for p, s in zip(pictures, samples, strict=True)]


def _pictures(latents: Latents, models: Models, residency: Residency, reporter: Reporter | None, tiled: bool | None) -> list[Tensor]:
    vae = models.component("video_vae")
    memory = _memory(tiled, residency.device)
    frames, height, width = (pixel_frames(latents.video.shape[2]), latents.video.shape[3] * 32, latents.video.shape[4] * 32)
    pictures = []
    with residency.use(vae, decode_working_bytes(frames, height, width, models.dtype, memory)):
        for sample in latents.video:
            pictures.append(to_frames(decode_video_latents(vae, sample[None].to(residency.device), memory=memory)[0]))
            if reporter is not None:
                reporter.progress(Progress("decode", len(pictures), len(latents.video)))
    return pictures
