"""Streams of a card, and what a whole step as one CUDA graph asks of the card's memory."""

from __future__ import annotations

from functools import cache

import torch


def stream_of(device: torch.device, work: str) -> torch.cuda.Stream:
    """The stream of ``device``, a card, for one kind of work; users of the same kind take turns.

    Each is made once: the matrix library keeps 32 MiB of work space for every stream that ever ran a product.
    """
    return _made(torch.cuda.current_device() if device.index is None else device.index, work)


@cache
def _made(index: int, work: str) -> torch.cuda.Stream:
    return torch.cuda.Stream(index)


def can_capture(device: torch.device) -> bool:
    """Whether steps can be captured: with cudaMallocAsync (a host's choice before torch is imported) Triton cannot take the
    addresses that a graph is given, and memory of another stream is lost.
    """
    return device.type == "cuda" and torch.cuda.get_allocator_backend() == "native"
