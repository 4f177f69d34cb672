"""Latents to tokens and back, and the coordinates that RoPE sees. Pure functions."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry import LTX2_COMPRESSION, Compression

# Samples a second of the audio VAE's input over samples a mel frame: 16000 Hz, hop 160.
MEL_RATE = 100.0


def pack_video(latents: Tensor) -> Tensor:
    """[B, C, F, H, W] -> tokens [B, F*H*W, C], frame-major."""
    return latents.flatten(2).transpose(1, 2)


def unpack_video(tokens: Tensor, frames: int, height: int, width: int) -> Tensor:
    """Tokens [B, F*H*W, C] -> [B, C, F, H, W] (sizes in latent cells)."""
    return tokens.transpose(1, 2).unflatten(2, (frames, height, width))


def pack_audio(latents: Tensor) -> Tensor:
    """[B, C, T, M] -> tokens [B, T, C*M], channel-major."""
    return latents.transpose(1, 2).flatten(2)


def unpack_audio(tokens: Tensor, channels: int = 8) -> Tensor:
    """Tokens [B, T, C*M] -> [B, C, T, M]."""
    return tokens.unflatten(2, (channels, -1)).transpose(1, 2)


def video_coords(
    batch: int,
    frames: int,
    height: int,
    width: int,
    frame_rate: float,
    device: torch.device | str = "cpu",
    compression: Compression = LTX2_COMPRESSION,
) -> Tensor:
    """Begin and end of every video token: [B, 3, F*H*W, 2] float32; time in seconds, height and width in pixels.

    The VAE is causal: its first latent frame covers one pixel frame, each later one ``compression.time``. So begin
    and end in pixel frames are ``max(cell * time + 1 - time, 0)``.
    """
    size = (frames, height, width)
    cells = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32, device=device) for n in size), indexing="ij"))
    bounds = torch.stack([cells, cells + 1], dim=-1).flatten(1, 3)
    scale = torch.tensor([compression.time, compression.space, compression.space], dtype=torch.float32, device=device)
    bounds = bounds * scale[:, None, None]
    bounds[0] = (bounds[0] + 1 - compression.time).clamp(min=0) / frame_rate
    return bounds.expand(batch, -1, -1, -1)


def audio_coords(batch: int, length: int, device: torch.device | str = "cpu", mel_per_latent: int = 4) -> Tensor:
    """Begin and end in seconds of every audio token: [B, 1, T, 2] float32; causal like the video's."""
    cells = torch.arange(length + 1, dtype=torch.float32, device=device) * mel_per_latent
    seconds = (cells + 1 - mel_per_latent).clamp(min=0) / MEL_RATE
    bounds = torch.stack([seconds[:-1], seconds[1:]], dim=-1)
    return bounds[None, None].expand(batch, -1, -1, -1)
