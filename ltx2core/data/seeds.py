"""Draws that depend on a seed and a name alone, so that a folder gives the same ones on every machine."""

from __future__ import annotations

import hashlib
import random


def drawer(seed: int, *names: object) -> random.Random:
    """A generator of its own for ``names``, for example a file's name inside its folder and what is drawn."""
    digest = hashlib.sha256("\x1f".join([str(seed), *map(str, names)]).encode("utf-8", "surrogateescape")).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))
