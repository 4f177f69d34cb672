"""Latents to a clip that can be seen and heard."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from ..geometry import pixel_frames
from ..media.audio import Waveform, fit_length, resample
from ..models.audio import OUTPUT_RATE, decode_audio_latents
from ..models.decode_plan import DecodeWay, decode_ways
from ..models.handle import Models
from ..models.vae_bytes import frames_working_bytes
from ..models.vae_memory import PLAIN, Tiling, VaeMemory
from ..models.video import decode_frames
from ..protocols import Progress, Reporter, Residency
from .loop import Latents


@dataclass(frozen=True)
class Clip:
    """frames uint8 [F, H, W, 3] and their sound."""

    frames: Tensor
    waveform: Waveform | None
    frame_rate: float


_FIXED = {True: VaeMemory(tiling=Tiling(), temporal_roll=True), False: PLAIN}


@torch.no_grad()
def decode(latents: Latents, models: Models, *, residency: Residency, reporter: Reporter | None = None, tiled: bool | None = None) -> list[Clip]:
    """One clip a sample; its sound or its pictures are those that were given where the other was made for them.

    Args:
        tiled: in tiles streamed in time; False: all at once; None: as the free memory allows, see ``models.decode_plan``.

    Raises:
        LTX2Error: the memory is not enough for the smallest way either.
    """
    frames = pixel_frames(latents.video.shape[2])
    pictures = [latents.pictures] * len(latents.video) if latents.pictures is not None else _pictures(latents, models, residency, reporter, tiled)
    seconds = frames / latents.frame_rate
    if latents.sound is not None:
        sound = latents.sound
        if sound.samples.shape[0] > 2:  # files and other nodes take one or two channels
            sound = resample(sound, sound.rate)
        return [Clip(p, fit_length(sound, seconds), latents.frame_rate) for p in pictures]
    audio_vae, vocoder = models.component("audio_vae"), models.component("vocoder")
    with residency.use(audio_vae), residency.use(vocoder):
        samples = decode_audio_latents(audio_vae, vocoder, latents.audio.to(residency.device)).cpu()
    return [Clip(p, fit_length(Waveform(s, OUTPUT_RATE), seconds), latents.frame_rate) for p, s in zip(pictures, samples, strict=True)]


def _pictures(latents: Latents, models: Models, residency: Residency, reporter: Reporter | None, tiled: bool | None) -> list[Tensor]:
    vae = models.component("video_vae")
    size = (pixel_frames(latents.video.shape[2]), latents.video.shape[3] * 32, latents.video.shape[4] * 32)
    if tiled is None:
        ways = list(decode_ways(vae, *size, models.dtype, residency.device, residency.room()))
    else:
        ways = [DecodeWay(_FIXED[tiled], frames_working_bytes(*size, models.dtype, _FIXED[tiled]))]
    pictures: list[Tensor] = []
    for way in ways:
        if way.message and reporter is not None:
            reporter.message(way.message, "warning")
        with residency.use(vae, way.working):
            if _add_pictures(pictures, latents.video, vae, way, residency, reporter):
                return pictures
    raise LTX2Error(_too_large(size, tiled))


def _add_pictures(pictures: list[Tensor], video: Tensor, vae: nn.Module, way: DecodeWay, residency: Residency, reporter: Reporter | None) -> bool:
    """Appends the samples that ``pictures`` lacks; False when the memory was not enough.

    The bytes of a way are predicted, and another program may take memory meanwhile. The error is not handed on, because
    its traceback would keep what lies on the device.
    """
    try:
        for sample in video[len(pictures) :]:
            pictures.append(decode_frames(vae, sample[None].to(residency.device), way.memory))
            if reporter is not None:
                reporter.progress(Progress("decode", len(pictures), len(video)))
    except torch.OutOfMemoryError:
        return False
    return True


def _too_large(size: tuple[int, int, int], tiled: bool | None) -> str:
    shape = f"{size[0]} frames of {size[2]}x{size[1]}"
    if tiled is False:
        return f"{shape} do not fit into memory all at once; set tiled to auto."
    return f"{shape} do not fit into memory even in small pieces; close other programs, or choose a smaller picture."
