"""Host memory that a card can read by itself (page-locked), without waste."""

from __future__ import annotations

import torch
from torch import Tensor

# The rest of a block that is smaller than this is rounded up to it.
SMALLEST_PIECE = 2**20


def piece_sizes(nbytes: int) -> tuple[int, ...]:
    """Falling powers of two that hold ``nbytes`` together, with less than ``SMALLEST_PIECE`` left over.

    torch rounds every request of page-locked memory up to a power of two: a block of 0.8 GiB asked for at once takes 1 GiB.
    """
    whole = -(-nbytes // SMALLEST_PIECE) * SMALLEST_PIECE
    return tuple(1 << bit for bit in reversed(range(whole.bit_length())) if whole >> bit & 1)


class HostBlock:
    """A copy of the bytes ``flat`` (uint8, on any device) in host memory."""

    def __init__(self, flat: Tensor, pinned: bool):
        sizes = piece_sizes(len(flat)) if pinned else (len(flat),)
        self._pieces, offset = [], 0
        for size in sizes:
            part = flat[offset : offset + size]
            self._pieces.append(torch.empty(size, dtype=torch.uint8, pin_memory=pinned)[: len(part)].copy_(part))
            offset += size

    def copy_to(self, flat: Tensor) -> None:
        """Into ``flat`` on the current stream; from page-locked memory the host does not wait."""
        offset = 0
        for piece in self._pieces:
            flat[offset : offset + len(piece)].copy_(piece, non_blocking=True)
            offset += len(piece)
