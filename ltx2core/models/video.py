"""Pictures to normalised latents and back, tiled when large."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..geometry import LTX2_COMPRESSION

# The largest activation of the encoder is 4 x the pixels' channels at full time and quarter side, doubled by the
# convolution's copy; measured as bytes of one element times this many elements a pixel.
_ENCODE_ELEMENTS_PER_PIXEL = 40
_DECODE_ELEMENTS_PER_PIXEL = 60


@dataclass(frozen=True)
class Tiling:
    """Tiles in pixels: side of a tile and how much neighbours share. A picture within one tile is not cut."""

    size: int = 512
    overlap: int = 64
    frames: int = 64
    frame_overlap: int = 16


def encode_working_bytes(frames: int, height: int, width: int, dtype: torch.dtype = torch.bfloat16) -> int:
    """What encoding needs beside the weights."""
    return frames * height * width * _ENCODE_ELEMENTS_PER_PIXEL * dtype.itemsize


def decode_working_bytes(frames: int, height: int, width: int, dtype: torch.dtype = torch.bfloat16) -> int:
    return frames * height * width * _DECODE_ELEMENTS_PER_PIXEL * dtype.itemsize


def _statistics(vae: nn.Module, like: Tensor) -> tuple[Tensor, Tensor]:
    shape = (1, -1, 1, 1, 1)
    return vae.latents_mean.view(shape).to(like), vae.latents_std.view(shape).to(like)


def normalise(vae: nn.Module, latents: Tensor) -> Tensor:
    mean, std = _statistics(vae, latents)
    return (latents - mean) / std


def denormalise(vae: nn.Module, latents: Tensor) -> Tensor:
    mean, std = _statistics(vae, latents)
    return latents * std + mean


def encode_video(vae: nn.Module, pixels: Tensor) -> Tensor:
    """Normalised latents, the mean of the posterior.

    Args:
        pixels: [B, 3, F, H, W] in [-1, 1]; F = 8k+1, H and W multiples of 32.

    Returns:
        [B, 128, F', H', W'] in the VAE's dtype.
    """
    dtype = next(vae.parameters()).dtype
    return normalise(vae, vae.encode(pixels.to(dtype), return_dict=False)[0].mode())


def decode_video_latents(vae: nn.Module, latents: Tensor, tiling: Tiling | None = None) -> Tensor:
    """Pictures float32 [B, 3, F, H, W] in about [-1, 1] of normalised latents [B, 128, F', H', W'].

    Args:
        tiling: decode in overlapping tiles, blended linearly; needed when the whole does not fit in memory.
    """
    latents = denormalise(vae, latents.to(next(vae.parameters()).dtype))
    if tiling is not None:
        vae.enable_tiling(
            tile_sample_min_height=tiling.size, tile_sample_min_width=tiling.size, tile_sample_min_num_frames=tiling.frames,
            tile_sample_stride_height=tiling.size - tiling.overlap, tile_sample_stride_width=tiling.size - tiling.overlap,
            tile_sample_stride_num_frames=tiling.frames - tiling.frame_overlap,
        )  # fmt: skip
        vae.use_framewise_decoding = latents.shape[2] > tiling.frames // LTX2_COMPRESSION.time
    try:
        return vae.decode(latents, return_dict=False)[0].float()
    finally:
        vae.use_framewise_decoding = False
        vae.use_tiling = False
