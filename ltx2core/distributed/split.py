"""Who computes what of a step: the clips of one global batch dealt out to the processes, in passes that fit a card.

The result does not depend on the dealing: a clip's random numbers belong to its place in the global batch, and each
pass's losses count by their share of all clips that have such a loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from .world import World

if TYPE_CHECKING:
    from ..train.feed import Batch


def passes(clips: int, size: int, rank: int, processes: int) -> list[tuple[int, ...]]:
    """Places 0..clips-1 that process ``rank`` takes, at most ``size`` a pass.

    Every process gets as many passes, since some work is done together; a pass for which nothing is left is empty.
    """
    mine = range(rank, clips, processes)
    count = math.ceil(math.ceil(clips / processes) / size)
    return [tuple(mine[i * size : (i + 1) * size]) for i in range(count)]


def with_shares(batches: Iterable[Batch], world: World) -> list[Batch]:
    """The passes of one step with ``inputs.shares``: of the video loss, the audio loss, and all clips.

    A pass's mean times its share, summed over passes and processes, is the mean over the global batch.
    """
    batches = list(batches)
    counts = torch.tensor([[b.inputs.video.mask.any(1).sum(), b.inputs.audio.mask.any(1).sum(), b.real] for b in batches], dtype=torch.float64)
    total = counts.sum(0)
    world.sum_(total)
    shares = (counts / total.clamp(min=1)).float()
    video, audio = (bool(n) for n in total[:2])
    return [replace(b, inputs=replace(b.inputs, shares=s), has_video=video, has_audio=audio) for b, s in zip(batches, shares, strict=True)]
