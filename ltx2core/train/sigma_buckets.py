"""Losses by noise level, so that a person sees where a run learns: easy high sigmas hide what happens at low ones."""

from __future__ import annotations

import torch
from torch import Tensor

EDGES = (0.25, 0.5, 0.75)
NAMES = ("<0.25", "<0.5", "<0.75", "<=1")


def bucket_of(sigma: Tensor) -> Tensor:
    """int64, the shape of ``sigma``: which of NAMES each belongs to; an edge belongs to the bucket above it."""
    return torch.bucketize(sigma, torch.tensor(EDGES, device=sigma.device), right=True)


class BucketSums:
    """Sums and counts of sample losses by bucket. Sums stay on the losses' device; counts are known on the host."""

    def __init__(self, device: torch.device):
        self._sums, self._counts = torch.zeros(len(NAMES), device=device), torch.zeros(len(NAMES))

    def add(self, losses: Tensor, sigma: Tensor, mask: Tensor) -> None:
        """losses [B] on the device; sigma [B] and mask [B, N] on the host: samples without any weight don't count."""
        counted, places = mask.any(1).float(), bucket_of(sigma.cpu())
        self._counts.index_add_(0, places, counted.cpu())
        self._sums.index_add_(0, places.to(self._sums.device), losses.detach().float() * counted.to(losses.device))

    def packed(self) -> Tensor:
        """[2 * buckets] on the device, sums before counts: what several processes add up."""
        return torch.cat((self._sums, self._counts.to(self._sums.device)))

    @staticmethod
    def means_of(packed: Tensor) -> Tensor:
        sums, counts = packed.chunk(2)
        return sums / counts

    def means(self) -> Tensor:
        """[buckets] on the device; NaN for an empty bucket."""
        return self._sums / self._counts.to(self._sums.device)
