"""The video VAE's convolutions a piece of time at a time: the same sums, with less memory at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# A convolution's padded input may have this many bytes before it is cut.
PIECE_BYTES = 256 * 2**20


@contextmanager
def forwards(replaced: Mapping[nn.Module, Callable[..., Tensor]]) -> Iterator[None]:
    """Inside the block these modules, and no others of their class, run the given functions.

    Whatever forward a module had of its own (the host's hooks) comes back afterwards.
    """
    own = {module: module.__dict__.get("forward") for module in replaced}
    try:
        for module, function in replaced.items():
            module.forward = function
        yield
    finally:
        for module, before in own.items():
            if before is not None:
                module.forward = before
            elif "forward" in module.__dict__:
                del module.forward


def _window(parts: tuple[Tensor, ...], start: int, stop: int) -> Tensor:
    """Frames ``start`` to ``stop`` of the parts laid end to end, without laying them."""
    taken, offset = [], 0
    for part in parts:
        first, last = max(start - offset, 0), min(stop - offset, part.shape[2])
        if last > first:
            taken.append(part[:, :, first:last])
        offset += part.shape[2]
    return taken[0] if len(taken) == 1 else torch.cat(taken, dim=2)


def convolve(conv: nn.Conv3d, parts: tuple[Tensor, ...], piece_bytes: int | None) -> Tensor:
    """``conv`` (stride 1, no padding in time) of the parts [B, C, T_i, H, W] laid end to end in time.

    Args:
        piece_bytes: the largest input at once; None: all. A piece makes at least one frame.
    """
    kernel = conv.kernel_size[0]
    frames = sum(part.shape[2] for part in parts)
    made = frames - kernel + 1
    frame_bytes = parts[0][:, :, :1].numel() * parts[0].element_size()
    step = made if piece_bytes is None else max(1, piece_bytes // frame_bytes - kernel + 1)
    if step >= made:
        return conv(_window(parts, 0, frames))
    out = None
    for start in range(0, made, step):
        stop = min(start + step, made)
        piece = conv(_window(parts, start, stop + kernel - 1))
        if out is None:
            out = piece.new_empty(*piece.shape[:2], made, *piece.shape[3:])
        out[:, :, start:stop] = piece
    return out


def causal_convs(module: nn.Module) -> list[nn.Module]:
    from diffusers.models.autoencoders.autoencoder_kl_ltx2 import LTX2VideoCausalConv3d  # slow to import

    return [m for m in module.modules() if isinstance(m, LTX2VideoCausalConv3d)]


def _in_pieces(layer: nn.Module, piece_bytes: int) -> Callable[..., Tensor]:
    def forward(x: Tensor, causal: bool = True) -> Tensor:
        padding = layer.kernel_size[0] - 1
        after = 0 if causal else padding // 2
        first, last = x[:, :, :1], x[:, :, -1:]
        shape = (-1, -1, padding - after, -1, -1)
        return convolve(layer.conv, (first.expand(shape), x, last.expand(-1, -1, after, -1, -1)), piece_bytes)

    return forward


@contextmanager
def convs_in_pieces(module: nn.Module, piece_bytes: int = PIECE_BYTES) -> Iterator[None]:
    """Inside the block every causal convolution of ``module`` larger than ``piece_bytes`` runs in pieces of time."""
    with forwards({layer: _in_pieces(layer, piece_bytes) for layer in causal_convs(module)}):
        yield
