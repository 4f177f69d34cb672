"""Which clips make up each batch: seeded, in buckets, resumable at the exact sample."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..cache.dataset import DatasetCache
from ..errors import LTX2Error
from .randomness import generator


class BucketSampler:
    """Batches of clips of one bucket. Each epoch shows every clip ``repeats + 1`` times, in a new order.

    A bucket's last batch is filled up with other clips of the bucket, so that every batch has ``batch_size`` clips, or as
    many as its dataset has for itself; without ``fill`` it is smaller, so that no clip comes twice, and all have the run's size.
    The order is a function of (seed, epoch): the state is two numbers.
    """

    def __init__(self, cache: DatasetCache, batch_size: int, seed: int, fill: bool = True):
        if not len(cache):
            raise LTX2Error("The cached dataset holds no clips; add clips to its folder and cache it again.")
        self._seed, self._fill = seed, fill
        groups: dict[tuple[str, int], list[int]] = {}
        for bucket, positions in cache.buckets.items():
            for i in positions:
                size = (cache.clips[i].batch_size if fill else 0) or batch_size
                groups.setdefault((bucket, size), []).extend([i] * (cache.clips[i].repeats + 1))
        self._groups = [(positions, size) for (_, size), positions in groups.items()]
        self._epoch, self._position = 0, 0
        self._batches = self._order(0)

    def _order(self, epoch: int) -> list[tuple[int, ...]]:
        values = generator(self._seed, "order", epoch)

        def shuffled(items: list) -> list:
            return [items[i] for i in torch.randperm(len(items), generator=values).tolist()]

        batches = []
        for positions, size in self._groups:
            row = shuffled(positions)
            while self._fill and len(row) % size:
                row += shuffled(positions)[: -len(row) % size]
            batches += [tuple(row[i : i + size]) for i in range(0, len(row), size)]
        return shuffled(batches)

    @property
    def epoch(self) -> int:
        return self._epoch

    def next(self) -> tuple[int, ...]:
        """Positions in the cache of the next batch's clips."""
        if self._position == len(self._batches):
            self._epoch, self._position = self._epoch + 1, 0
            self._batches = self._order(self._epoch)
        batch = self._batches[self._position]
        self._position += 1
        return batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self._epoch, self._position = state["epoch"], state["position"]
        self._batches = self._order(self._epoch)
