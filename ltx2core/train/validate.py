"""A loss that can be compared between steps: the same clips, the same sigmas, the same noise every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..cache.dataset import DatasetCache, Sample
from ..distributed.world import ALONE, World
from .batch import assemble, fixed_draw
from .conditioning import ConditioningSettings
from .objective import Objective, masked_means, pointwise_loss
from .reference import References
from .step import StepLosses

SIGMAS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class ValidationLoss:
    """Means over clips and SIGMAS at optimizer step ``step``; ``zero_*``: of a prediction of all zeros.

    None: no clip has sound, sound is trained alone, or the stream is always given.
    """

    step: int
    video: float | None
    audio: float | None
    zero_video: float | None
    zero_audio: float | None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


_Row = tuple[float | None, float | None, float | None, float | None]


def _clip_losses(sample: Sample, slot: int, evaluate: Callable, objective: Objective, dtype: torch.dtype, seed: int, references: list | None,
                 conditioning: ConditioningSettings) -> list[_Row]:  # fmt: skip
    """(video, audio, a zero prediction's video, and its audio loss) at every sigma; None for a stream that is not trained.

    A stream that is always given in training is given here too.
    """
    rows, sound = [], sample.audio_latents is not None
    frozen = conditioning.always_given if sound else None
    shown = not objective.audio_only and frozen != "video", sound and frozen != "audio"
    for sigma in SIGMAS:
        inputs = assemble([sample], [fixed_draw(sample, sigma, seed, slot, int(sigma * 1000), frozen=frozen)], dtype, references, conditioning)
        zero = [
            masked_means(pointwise_loss(torch.zeros_like(s.target), s.target, objective.loss, objective.huber_c), s.mask)[1].item()
            for s in (inputs.video, inputs.audio)
        ]
        losses = evaluate(inputs)
        pairs = [(loss.item(), plain) if told else (None, None) for loss, plain, told in zip((losses.video, losses.audio), zero, shown, strict=True)]
        rows.append((pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1]))
    return rows


def validation_loss(
    evaluate: Callable[..., StepLosses], cache: DatasetCache, clips: int, objective: Objective, dtype: torch.dtype, seed: int, step: int,
    references: References | None = None, world: World = ALONE, conditioning: ConditioningSettings = ConditioningSettings(),
) -> ValidationLoss:
    """Loss on the first ``clips`` clips of ``cache``.

    Args:
        evaluate: an engine's forward pass.
        dtype: of the model's inputs.
        references: reference videos, which all clips are given then.
        world: the processes that share the clips; each gets the same result.
        conditioning: the run's, for its references' scale and what is always given.
    """
    count, found = min(clips, len(cache)), {}
    for first in range(0, count, world.size):
        # Every process runs along when the clips don't divide evenly, since sharded weights need all of them.
        slot = min(first + world.rank, count - 1)
        given = None if references is None else [references.latents(cache.clips[slot])]
        found[slot] = _clip_losses(cache[slot], slot, evaluate, objective, dtype, seed, given, conditioning)
    merged = {slot: losses for part in world.gather(found) for slot, losses in part.items()}
    rows = [row for slot in sorted(merged) for row in merged[slot]]
    columns = (_mean([v for v in column if v is not None]) for column in zip(*rows, strict=True)) if rows else [None] * 4
    return ValidationLoss(step, *columns)


def divergence(history: Sequence[ValidationLoss], guard: float, streams: Sequence[str] = ("video", "audio")) -> str | None:
    """A sentence when the last validation loss of one of ``streams`` is more than ``guard`` times its best before; 0 is never."""
    if not guard or len(history) < 2:
        return None
    for name in streams:
        values = [value for v in history if (value := getattr(v, name)) is not None]
        if len(values) > 1 and not values[-1] <= guard * min(values[:-1]):
            return f"The validation loss of {name} rose to {values[-1]:.4f} from {min(values[:-1]):.4f} at best"
    return None
