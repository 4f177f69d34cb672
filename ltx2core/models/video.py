"""Pictures to normalised latents and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from ..geometry import LTX2_COMPRESSION, pixel_frames
from .vae_bytes import FRAMES_AT_ONCE, decode_working_bytes, encode_working_bytes
from .vae_memory import PLAIN, Tiling, VaeMemory, decode_pieces, decode_pixels, encode_mean

__all__ = ["Tiling", "VaeMemory", "decode_frames", "decode_video_latents", "decode_working_bytes", "denormalise", "encode_video", "encode_working_bytes", "normalise"]

def _statistics(vae: nn.Module, like: Tensor) -> tuple[Tensor, Tensor]:
    shape = (1, -1, 1, 1, 1)
    return vae.latents_mean.view(shape).to(like), vae.latents_std.view(shape).to(like)


def normalise(vae: nn.Module, latents: Tensor) -> Tensor:
    mean, std = _statistics(vae, latents)
    return (latents - mean) / std


def denormalise(vae: nn.Module, latents: Tensor) -> Tensor:
    mean, std = _statistics(vae, latents)
    return latents * std + mean


def encode_video(vae: nn.Module, pixels: Tensor, memory: VaeMemory = PLAIN) -> Tensor:
    """Normalised latents, the mean of the posterior.

    Args:
        pixels: [B, 3, F, H, W] in [-1, 1]; F = 8k+1, H and W multiples of 32.
        memory: how to save memory.

    Returns:
        [B, 128, F', H', W'] in the VAE's dtype.

    Raises:
        LTX2Error: a size that the VAE does not take.
    """
    time, space = LTX2_COMPRESSION.time, LTX2_COMPRESSION.space
    frames, height, width = pixels.shape[2:]
    if (frames - 1) % time or height % space or width % space:
        raise LTX2Error(f"The video VAE takes {time}k+1 frames and sides of multiples of {space} pixels, not {frames} frames of {width}x{height}.")
    dtype = next(vae.parameters()).dtype
    return normalise(vae, encode_mean(vae, pixels.to(dtype), memory)).to(dtype)


def decode_video_latents(vae: nn.Module, latents: Tensor, tiling: Tiling | None = None, memory: VaeMemory | None = None) -> Tensor:
    """Pictures float32 [B, 3, F, H, W] in about [-1, 1] of normalised latents [B, 128, F', H', W'].

    Args:
        tiling: decode in overlapping tiles, each streamed in time; for when the whole does not fit in memory.
        memory: all settings, in place of ``tiling``. ``VaeMemory(temporal_roll=True)`` takes about a fifth of the memory
            of the whole at 121 frames, with its numbers.

    Raises:
        LTX2Error: a side of one cell, or a decoder that wants a timestep, which no VAE of LTX-2 has.
    """
    latents = _checked(vae, latents)
    return decode_pixels(vae, latents, memory or VaeMemory(tiling=tiling, temporal_roll=tiling is not None)).float()


def decode_frames(vae: nn.Module, latents: Tensor, memory: VaeMemory = PLAIN) -> Tensor:
    """uint8 [F, H, W, 3] on the CPU of one clip's normalised latents [1, 128, F', H', W'], whatever device they are on.

    Pixels leave the device as they come, so that with ``temporal_roll`` its memory does not grow with the clip's length.

    Raises:
        LTX2Error: as :func:`decode_video_latents`.
    """
    frames, done = None, 0
    for piece in decode_pieces(vae, _checked(vae, latents), memory):
        for part in piece[0].split(FRAMES_AT_ONCE, dim=1):
            shown = ((part.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).cpu()
            if frames is None:
                frames = shown.new_empty(pixel_frames(latents.shape[2]), *shown.shape[1:])
            frames[done : done + len(shown)] = shown
            done += len(shown)
    return frames


def _checked(vae: nn.Module, latents: Tensor) -> Tensor:
    """Denormalised in the VAE's dtype."""
    if min(latents.shape[-2:]) < 2:
        raise LTX2Error(f"The video VAE decodes sides of at least {2 * LTX2_COMPRESSION.space} pixels, because it mirrors the picture at its borders.")
    if vae.decoder.timestep_scale_multiplier is not None:
        raise LTX2Error("This video VAE's decoder wants a timestep; LTX-2's does not. Choose an LTX-2 checkpoint.")
    return denormalise(vae, latents.to(next(vae.parameters()).dtype))
