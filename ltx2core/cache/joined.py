"""Several cached datasets as one, each drawn as often as it was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..data.mixture import shares_of
from ..data.spec import DatasetSpec
from .dataset import DatasetCache

# Whole passes stand for shares: the rarest dataset's clips come so often in an epoch, which keeps shares within 3 %.
_FINENESS = 20


def passes(shares: Sequence[float], samples: Sequence[int]) -> tuple[int, ...]:
    """How often each dataset's clips come in an epoch, so that samples * passes stand to one another as ``shares``."""
    weights = [share / count for share, count in zip(shares, samples, strict=True)]
    found = [round(_FINENESS * weight / min(weights)) for weight in weights]
    divisor = math.gcd(*found)
    return tuple(n // divisor for n in found)


def joined(caches: Sequence[DatasetCache], specs: Sequence[DatasetSpec]) -> DatasetCache:
    """One set of all. Datasets with a ``probability`` come in that relation, others by their size and repeats.

    Raises:
        LTX2Error: some have a probability and some have none.
    """
    if len(caches) == 1:
        return caches[0]
    samples = [len(cache) for cache in caches]
    shares = shares_of(specs, samples)
    often = passes(shares, samples) if any(spec.probability for spec in specs) else tuple(spec.repeats + 1 for spec in specs)
    clips = tuple(replace(clip, repeats=n - 1) for cache, n in zip(caches, often, strict=True) for clip in cache.clips)
    own = [spec.name for spec in specs if spec.batch_size]
    notes = (f"The batch_size of {', '.join(own)} is not used beside other datasets; the run's is.",) if own else ()
    return replace(caches[0], clips=clips, messages=(*(message for cache in caches for message in cache.messages), *notes))
