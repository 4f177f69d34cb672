"""Every random number of a run is a function of the run's seed and of what it is for, so that nothing random is state.

A run that goes on after an interruption draws what it would have drawn; a new option changes no other option's draws.
"""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *purpose: int | str) -> int:
    """A 63-bit seed for one purpose, such as ``derive(42, "noise", step, slot)``."""
    text = "/".join(str(p) for p in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """A CPU generator for one purpose: the same numbers on every device."""
    return torch.Generator().manual_seed(derive(seed, *purpose))
