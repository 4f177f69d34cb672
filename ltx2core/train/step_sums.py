"""What one optimizer step's passes add up to: losses for the log, on the device until they are read."""

from __future__ import annotations

import torch
from torch import Tensor

from ..distributed.world import World
from .feed import Batch
from .sigma_buckets import BucketSums
from .step import StepLosses


class StepSums:
    """Of one step. ``streams``: whether any pass had a video loss, an audio loss."""

    def __init__(self, device: torch.device):
        self._device, self._sums = device, torch.zeros(4, device=device)
        self._with_video = self._with_audio = 0
        self._buckets = BucketSums(device), BucketSums(device)

    @property
    def streams(self) -> tuple[bool, bool]:
        return self._with_video > 0, self._with_audio > 0

    def add(self, losses: StepLosses, batch: Batch) -> None:
        self._sums += torch.stack((losses.total, losses.video, losses.audio, losses.alignment))
        self._buckets[0].add(losses.video_samples, batch.inputs.video.sigma, batch.inputs.video.mask)
        self._buckets[1].add(losses.audio_samples, batch.inputs.audio.sigma, batch.inputs.audio.mask)
        self._with_video += batch.has_video
        self._with_audio += batch.has_audio

    def means(self, passes: int) -> Tensor:
        """[4 + 2 * buckets] on the device: total, video, audio, alignment, then the buckets of both streams.

        Video and audio are means over the passes that have them.
        """
        counts = torch.tensor([passes, max(1, self._with_video), max(1, self._with_audio), passes], device=self._device)
        return torch.cat((self._sums / counts, *(b.means() for b in self._buckets)))

    def of_all(self, world: World) -> Tensor:
        """The same of a global batch: the passes of all processes hold shares that add up to its means."""
        packed = torch.cat((self._sums, *(b.packed() for b in self._buckets)))
        world.sum_(packed)
        sums, *buckets = packed.split([4, *(len(b.packed()) for b in self._buckets)])
        return torch.cat((sums, *(BucketSums.means_of(b) for b in buckets)))
