"""How PyTorch takes memory of cards in processes of this pack's own. It reads this when it is imported, so nothing here imports it."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping

_NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
_OF_A_HOST = "backend:cudaMallocAsync"


def ask_for_segments(environment: MutableMapping[str, str]) -> None:
    """Buckets of different sizes then take each other's memory: 104 instead of 126 GiB with two of them and all blocks kept.

    A choice of the person's own stays.
    """
    if sys.platform == "linux" and not environment.keys() & set(_NAMES):
        environment["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"


def leave_the_hosts(environment: MutableMapping[str, str]) -> None:
    """Takes out the allocator that a host chose for itself: with it no step can be captured (see ``memory/streams.py``)."""
    for name in environment.keys() & set(_NAMES):
        kept = [part for part in environment[name].split(",") if part.strip() != _OF_A_HOST]
        environment[name] = ",".join(kept)
        if not environment[name]:
            del environment[name]
