"""A loss that can be compared between steps: the same clips, the same sigmas, the same noise every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..cache.dataset import DatasetCache, Sample
from .batch import assemble, fixed_draw
from .objective import Objective, masked_means, pointwise_loss
from .reference import References
from .step import StepLosses

SIGMAS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class ValidationLoss:
    """Means over clips and SIGMAS at optimizer step ``step``; ``zero_*``: of a prediction of all zeros.

    None: no clip has sound, or sound is trained alone.
    """

    step: int
    video: float | None
    audio: float | None
    zero_video: float | None
    zero_audio: float | None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _sample_losses(sample: Sample, slot: int, evaluate: Callable, objective: Objective, dtype: torch.dtype, seed: int, references: list | None) -> list[tuple[StepLosses, float, float]]:
    """(losses, zero prediction's video loss, and audio loss) at every sigma."""
    results = []
    for sigma in SIGMAS:
        inputs = assemble([sample], [fixed_draw(sample, sigma, seed, slot, int(sigma * 1000))], dtype, references)
        zero = [
            masked_means(pointwise_loss(torch.zeros_like(s.target), s.target, objective.loss, objective.huber_c), s.mask)[1].item()
            for s in (inputs.video, inputs.audio)
        ]
        results.append((evaluate(inputs), *zero))
    return results


def validation_loss(
    evaluate: Callable[..., StepLosses], cache: DatasetCache, clips: int, objective: Objective, dtype: torch.dtype, seed: int, step: int,
    references: References | None = None,
) -> ValidationLoss:
    """Loss on the first ``clips`` clips of ``cache``.

    Args:
        evaluate: an engine's forward pass.
        dtype: of the model's inputs.
        references: reference videos, which all clips are given then.
    """
    video, audio, zero_video, zero_audio = [], [], [], []
    for slot in range(min(clips, len(cache))):
        sample = cache[slot]
        given = None if references is None else [references.latents(cache.clips[slot])]
        for losses, zero_v, zero_a in _sample_losses(sample, slot, evaluate, objective, dtype, seed, given):
            if not objective.audio_only:
                video.append(losses.video.item())
                zero_video.append(zero_v)
            if sample.audio_latents is not None:
                audio.append(losses.audio.item())
                zero_audio.append(zero_a)
    return ValidationLoss(step, _mean(video), _mean(audio), _mean(zero_video), _mean(zero_audio))


def divergence(history: Sequence[ValidationLoss], guard: float) -> str | None:
    """A sentence when the last validation loss of video or sound is more than ``guard`` times its best before; 0 is never."""
    if not guard or len(history) < 2:
        return None
    for name in ("video", "audio"):
        values = [value for v in history if (value := getattr(v, name)) is not None]
        if len(values) > 1 and not values[-1] <= guard * min(values[:-1]):
            return f"The validation loss of {name} rose to {values[-1]:.4f} from {min(values[:-1]):.4f} at best"
    return None
