"""The causal video encoder as a stream: a few frames at a time, each layer remembering the last frames it saw.

The encoder looks only back in time, so a clip of any length is encoded in the memory of nine frames, and the numbers
are those of the whole clip: no layer sees an edge that is not there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from .conv_pieces import causal_convs, convolve, forwards


class _Memory:
    """The last frames that each convolution saw; empty at the start of a clip."""

    def __init__(self) -> None:
        self.tails: dict[nn.Module, Tensor] = {}


def _conv(layer: nn.Module, memory: _Memory, piece_bytes: int | None) -> Callable[..., Tensor]:
    padding = layer.kernel_size[0] - 1

    def forward(x: Tensor, causal: bool = True) -> Tensor:
        tail = memory.tails.get(layer)
        if tail is None:
            tail = x[:, :, :1].expand(-1, -1, padding, -1, -1)
        out = convolve(layer.conv, (tail, x), piece_bytes)
        # A copy: a view would keep the whole chunk alive.
        kept = x[:, :, max(x.shape[2] - padding, 0) :]
        missing = padding - kept.shape[2]
        memory.tails[layer] = torch.cat([tail[:, :, tail.shape[2] - missing :], kept], dim=2)
        return out

    return forward


def fold(x: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """Blocks of ``stride`` cells into channels: [B, C, T, H, W] -> [B, C * t * h * w, T/t, H/h, W/w], channel slowest."""
    batch, channels, frames, height, width = x.shape
    t, h, w = stride
    cells = x.reshape(batch, channels, frames // t, t, height // h, h, width // w, w)
    return cells.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, -1, frames // t, height // h, width // w)


def _downsampler(layer: nn.Module, memory: _Memory) -> Callable[..., Tensor]:
    def forward(x: Tensor, causal: bool = True) -> Tensor:
        if layer.conv not in memory.tails:
            # Only the clip's first frame stands alone; it is doubled to fill its block.
            x = torch.cat([x[:, :, : layer.stride[0] - 1], x], dim=2)
        means = fold(x, layer.stride).unflatten(1, (-1, layer.group_size)).mean(dim=2)
        return fold(layer.conv(x, causal=True), layer.stride).add_(means)

    return forward


def encode_rolling(encoder: nn.Module, pixels: Tensor, chunk: int = 8, piece_bytes: int | None = None) -> Tensor:
    """The encoder's output for [B, 3, 8k+1, H, W], made ``chunk`` frames at a time.

    Args:
        chunk: frames at a time, a multiple of the temporal compression (8); the first chunk has one more.
        piece_bytes: see :func:`conv_pieces.convolve`.

    Raises:
        LTX2Error: an encoder that looks ahead, or a chunk of another length.
    """
    from diffusers.models.autoencoders.autoencoder_kl_ltx2 import LTX2VideoDownsampler3d

    downsamplers = [m for m in encoder.modules() if isinstance(m, LTX2VideoDownsampler3d)]
    compression = 1
    for layer in downsamplers:
        compression *= layer.stride[0]
    if not encoder.is_causal:
        raise LTX2Error("This video VAE's encoder looks ahead in time; switch the temporal roll off.")
    if chunk < 1 or chunk % compression:
        raise LTX2Error(f"The temporal roll takes a multiple of {compression} frames at a time, not {chunk}.")
    memory = _Memory()
    replaced = {layer: _conv(layer, memory, piece_bytes) for layer in causal_convs(encoder)}
    replaced |= {layer: _downsampler(layer, memory) for layer in downsamplers}
    bounds = [0, *range(1 + chunk, pixels.shape[2], chunk), pixels.shape[2]]
    with forwards(replaced):
        chunks = [encoder(pixels[:, :, a:b]) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    return torch.cat(chunks, dim=2)
