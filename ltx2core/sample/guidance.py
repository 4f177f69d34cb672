"""Guidance: how predictions with and without prompt, attention or the other modality are combined."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

TOO_HIGH, TOO_LOW = 6.0, 2.0


@dataclass(frozen=True)
class Guidance:
    """Scales of one modality.

    cfg: away from the negative prompt, 1 is off. stg: away from the prediction with the self-attention of
    ``stg_blocks`` skipped, 0 is off. modality: away from the prediction without the other modality, 1 is off.
    rescale: how far the result's deviation is brought back to that of the conditional prediction, 0..1.
    """

    cfg: float = 1.0
    stg: float = 0.0
    modality: float = 1.0
    rescale: float = 0.0

    @property
    def needs_negative(self) -> bool:
        return self.cfg != 1.0

    @property
    def needs_perturbed(self) -> bool:
        return self.stg != 0.0

    @property
    def needs_isolated(self) -> bool:
        return self.modality != 1.0


def combine(guidance: Guidance, conditional: Tensor, negative: Tensor | None, perturbed: Tensor | None, isolated: Tensor | None) -> Tensor:
    """x0 predictions of one modality, float32 [B, N, C], combined (source of the sum and the rescaling: the official guider)."""
    result = conditional
    if negative is not None:
        result = result + (guidance.cfg - 1) * (conditional - negative)
    if perturbed is not None:
        result = result + guidance.stg * (conditional - perturbed)
    if isolated is not None:
        result = result + (guidance.modality - 1) * (conditional - isolated)
    if guidance.rescale:
        dims = tuple(range(1, result.ndim))  # of each sample alone, so that a batch changes nothing
        factor = conditional.std(dims, keepdim=True) / result.std(dims, keepdim=True)
        result = result * (guidance.rescale * factor + 1 - guidance.rescale)
    return result


def warnings(video: Guidance, distilled: bool) -> list[str]:
    """Sentences for scales of the picture that are known to give bad video."""
    if video.cfg > TOO_HIGH:
        return [f"A video guidance of {video.cfg:g} is above {TOO_HIGH:g}: expect burnt colours and noise."]
    if video.cfg < TOO_LOW and not (distilled and video.cfg == 1):
        return [f"A video guidance of {video.cfg:g} is below {TOO_LOW:g}: expect dark or noisy video, except at 1 with the distilled adapter."]
    return []
