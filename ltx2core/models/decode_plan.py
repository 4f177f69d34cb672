"""How a clip is decoded in the memory that there is, from the fastest way that fits to the smallest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..protocols import Room
from .vae_bytes import frames_working_bytes
from .vae_memory import PLAIN, ROLLED, Tiling, VaeMemory

GIB = 2**30
_SMALL_PIECES = 64 * 2**20
_CUT = VaeMemory(temporal_roll=True, patch_conv=True, piece_bytes=_SMALL_PIECES)
# All of these give the numbers of the whole clip, to rounding. On a card the stream comes first: it needs a fifth of the
# memory for little more time, so that nothing else has to leave.
_EXACT = {"cpu": (PLAIN, ROLLED, _CUT), "card": (ROLLED, _CUT)}
# Tiles do not see beyond their edge; a wider overlap hides it better.
_TILED = tuple(replace(_CUT, tiling=Tiling(size, overlap)) for size, overlap in ((768, 128), (512, 128), (256, 64)))


@dataclass(frozen=True)
class DecodeWay:
    """working: bytes that are needed beside the VAE's weights. message: for the person; empty where there is nothing to say."""

    memory: VaeMemory
    working: int
    message: str = ""


def _weights(vae: nn.Module, device: torch.device) -> tuple[int, int]:
    """Bytes of the VAE, and of those the ones that are not on ``device`` yet."""
    sizes = [(p.numel() * p.element_size(), p.device.type == device.type) for p in vae.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, there in sizes if not there)


def decode_ways(vae: nn.Module, frames: int, height: int, width: int, dtype: torch.dtype, device: torch.device, room: Room) -> Sequence[DecodeWay]:
    """The way that fits, then the smaller ones, for the case that less is free than was said.

    Ways that show no seams come first: what nothing uses now is enough for one of them, or what is free when other models
    have left. Only then are tiles cut. Where nothing fits the smallest way is all that is left, and that is said.
    """
    every = [DecodeWay(m, frames_working_bytes(frames, height, width, dtype, m)) for m in (*_EXACT["cpu" if device.type == "cpu" else "card"], *_TILED)]
    exact = [w for w in every if w.memory.tiling is None]
    whole, missing = _weights(vae, device)
    budgets = (room.free - missing, room.most - whole)
    fits = [way for budget in budgets for way in exact if way.working <= budget] + [way for way in every[len(exact) :] if way.working <= budgets[1]]
    if not fits:
        least = every[-1]
        text = (
            f"Decoding {width}x{height} needs about {(least.working + whole) / GIB:.1f} GiB and {max(0, room.most) / GIB:.1f} GiB can be had; it is tried in the "
            "smallest tiles. If that fails, close other programs or choose a smaller picture; fewer frames do not help here."
        )
        return (DecodeWay(least.memory, least.working, text),)
    return [way if way.memory.tiling is None else DecodeWay(way.memory, way.working, _tiles(way.memory.tiling)) for way in every[every.index(fits[0]) :]]


def _tiles(tiling: Tiling) -> str:
    return f"The picture is decoded in tiles of {tiling.size} pixels, because the whole does not fit into memory; a faint seam may be seen."
