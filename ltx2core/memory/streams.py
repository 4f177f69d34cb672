"""Streams of a card that are made once: the matrix library keeps 32 MiB of work space for each that ever ran a product."""

from __future__ import annotations

from functools import cache

import torch


def stream_of(device: torch.device, work: str) -> torch.cuda.Stream:
    """The stream of ``device``, a card, for one kind of work; users of the same kind take turns."""
    return _made(torch.cuda.current_device() if device.index is None else device.index, work)


@cache
def _made(index: int, work: str) -> torch.cuda.Stream:
    return torch.cuda.Stream(index)
