"""How the video VAE saves memory: what is cut, and along which axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from ..geometry import LTX2_COMPRESSION, pixel_frames
from .conv_pieces import PIECE_BYTES, convs_in_pieces
from .roll import decode_rolling, encode_rolling
from .tiles import blended


@dataclass(frozen=True)
class Tiling:
    """Square tiles in pixels: a tile's side and how much neighbours share at least, both multiples of 32."""

    size: int = 512
    overlap: int = 64

    def __post_init__(self) -> None:
        cell = LTX2_COMPRESSION.space
        if self.size % cell or self.overlap % cell or not 0 <= self.overlap < self.size or self.size < 2 * cell:
            raise LTX2Error(
                f"VAE tiles of {self.size} pixels overlapping by {self.overlap} do not fit the VAE's cells; give multiples of {cell}, "
                f"a tile of at least {2 * cell} and an overlap smaller than the tile."
            )

    @property
    def cells(self) -> tuple[int, int]:
        """Side and overlap in latent cells."""
        return self.size // LTX2_COMPRESSION.space, self.overlap // LTX2_COMPRESSION.space


@dataclass(frozen=True)
class VaeMemory:
    """Settings of the video VAE, from the least change to the most.

    Attributes:
        batch_size: clips at once.
        slicing: one clip at a time, whatever ``batch_size`` says.
        patch_conv: convolutions with a large input run in pieces of time. Same numbers to rounding.
        temporal_roll: the clip streams through, some frames at a time; memory no longer grows with its length.
            Same numbers to rounding.
        tiling: pictures larger than a tile are cut. The numbers differ near a tile's edge, because there a tile does
            not see its neighbours; a larger overlap makes this less.
    """

    batch_size: int = 4
    slicing: bool = False
    patch_conv: bool = False
    temporal_roll: bool = False
    tiling: Tiling | None = None
    piece_bytes: int = PIECE_BYTES

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.piece_bytes < 1:
            raise LTX2Error(f"vae_batch_size {self.batch_size} and pieces of {self.piece_bytes} bytes must be at least 1.")

    @property
    def clips_at_once(self) -> int:
        return 1 if self.slicing else self.batch_size


PLAIN = VaeMemory()
ROLLED = VaeMemory(temporal_roll=True)


def usual_memory(device: torch.device) -> VaeMemory:
    """On a card, streamed in time: a fifth of the memory for a fifth more time, the same numbers. On a processor, plain."""
    return PLAIN if device.type == "cpu" else ROLLED


@contextmanager
def _pieces(module: nn.Module, memory: VaeMemory) -> Iterator[None]:
    if memory.patch_conv:
        with convs_in_pieces(module, memory.piece_bytes):
            yield
    else:
        yield


def _tiled(function: Callable[[Tensor], Tensor], source: Tensor, memory: VaeMemory, source_cell: int, target_cell: int) -> Tensor:
    if memory.tiling is None:
        return function(source)
    size, overlap = memory.tiling.cells
    return blended(function, source, (size, size), (overlap, overlap), source_cell=source_cell, target_cell=target_cell)


def _joined(groups: list[Tensor]) -> Tensor:
    # torch.cat copies a single tensor too, and a decoded clip is large.
    return groups[0] if len(groups) == 1 else torch.cat(groups)


def encode_mean(vae: nn.Module, pixels: Tensor, memory: VaeMemory = PLAIN) -> Tensor:
    """The posterior's mean, not normalised: [B, 3, F, H, W] in [-1, 1] -> [B, C, F', H', W']."""
    channels = vae.latents_mean.numel()

    def encode(tile: Tensor) -> Tensor:
        if memory.temporal_roll:
            moments = encode_rolling(vae.encoder, tile, piece_bytes=memory.piece_bytes if memory.patch_conv else None)
        else:
            with _pieces(vae.encoder, memory):
                moments = vae.encoder(tile)
        return moments[:, :channels]

    return _joined([_tiled(encode, group, memory, LTX2_COMPRESSION.space, 1) for group in pixels.split(memory.clips_at_once)])


def _laid(pieces: Iterator[Tensor], latent_frames: int) -> Tensor:
    """Pieces of pixels end to end; into one tensor at once, because a list of them beside their sum would take twice as much."""
    out, done = None, 0
    for piece in pieces:
        if out is None:
            out = piece.new_empty(*piece.shape[:2], pixel_frames(latent_frames), *piece.shape[3:])
        out[:, :, done : done + piece.shape[2]] = piece
        done += piece.shape[2]
    return out


def decode_pieces(vae: nn.Module, latents: Tensor, memory: VaeMemory = PLAIN) -> Iterator[Tensor]:
    """Pieces [1, 3, T, H, W], in order, of what :func:`decode_pixels` makes of one clip's latents [1, C, F', H', W'].

    A streamed clip comes some frames at a time, so that it need never lie whole on the device. One that is cut into tiles
    is put together on the CPU and comes at once.
    """
    if memory.tiling is not None and max(latents.shape[-2:]) > memory.tiling.cells[0]:

        def decode(tile: Tensor) -> Tensor:
            return _laid((piece.cpu() for piece in decode_pieces(vae, tile, replace(memory, tiling=None))), tile.shape[2])

        yield _tiled(decode, latents, memory, 1, LTX2_COMPRESSION.space)
    elif memory.temporal_roll:
        yield from decode_rolling(vae.decoder, latents, piece_bytes=memory.piece_bytes if memory.patch_conv else None)
    else:
        with _pieces(vae.decoder, memory):
            yield vae.decoder(latents)


def decode_pixels(vae: nn.Module, latents: Tensor, memory: VaeMemory = PLAIN) -> Tensor:
    """[B, C, F', H', W'], not normalised, -> [B, 3, F, H, W] in about [-1, 1]."""

    def decode(tile: Tensor) -> Tensor:
        if memory.temporal_roll:
            return _laid(decode_rolling(vae.decoder, tile, piece_bytes=memory.piece_bytes if memory.patch_conv else None), tile.shape[2])
        with _pieces(vae.decoder, memory):
            return vae.decoder(tile)

    return _joined([_tiled(decode, group, memory, 1, LTX2_COMPRESSION.space) for group in latents.split(memory.clips_at_once)])
