"""Several cached datasets as one, each drawn as often as it was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..errors import LTX2Error
from .dataset import DatasetCache

# Whole passes stand for shares: the rarest dataset's clips come so often in an epoch, which keeps shares within 3 %.
_FINENESS = 20


def passes(shares: Sequence[float], samples: Sequence[int]) -> tuple[int, ...]:
    """How often each dataset's samples come in an epoch, so that samples * passes stand to one another as ``shares``."""
    weights = [share / count for share, count in zip(shares, samples, strict=True)]
    found = [round(_FINENESS * weight / min(weights)) for weight in weights]
    divisor = math.gcd(*found)
    return tuple(n // divisor for n in found)


def _rounds(cache: DatasetCache) -> list[int]:
    """How often each clip comes beside the others of its dataset, in the smallest whole numbers."""
    often = [clip.repeats + 1 for clip in cache.clips]
    divisor = math.gcd(*often)
    return [n // divisor for n in often]


def _check(caches: Sequence[DatasetCache]) -> None:
    first = caches[0]
    for other in caches[1:]:
        if other.root.resolve() != first.root.resolve():
            raise LTX2Error(f"One dataset is cached in {first.root} and another in {other.root}; cache both in one folder.")
        if (other.family, other.empty_text) != (first.family, first.empty_text):
            raise LTX2Error("The datasets were cached with different checkpoints or text encoders; cache all of them with the same.")


def joined(caches: Sequence[DatasetCache], shares: Sequence[float] | None = None) -> DatasetCache:
    """One set of all.

    Args:
        shares: how often samples come from each, relative to the others and above 0; None is by their sizes and repeats.

    Raises:
        LTX2Error: they lie in different folders, belong to different models, or a share is not above 0.
    """
    if not caches:
        raise LTX2Error("No dataset is given; add one.")
    if len(caches) == 1:
        return caches[0]
    _check(caches)
    if shares is None:
        clips = tuple(clip for cache in caches for clip in cache.clips)
    else:
        if not all(share > 0 for share in shares):
            raise LTX2Error("The share of a dataset is not above 0; give every dataset one, or none of them.")
        rounds = [_rounds(cache) for cache in caches]
        often = passes(shares, [sum(r) for r in rounds])
        clips = tuple(replace(clip, repeats=n * r - 1) for cache, own, n in zip(caches, rounds, often, strict=True) for clip, r in zip(cache.clips, own, strict=True))
    return replace(caches[0], clips=clips, messages=tuple(message for cache in caches for message in cache.messages))
