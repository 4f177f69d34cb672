"""What a clip is given clean in training: those tokens have timestep 0 and no loss.

Every kind of condition is a boolean grid over the latent cells, so kinds combine by "or".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LTX2Error
from .checks import check_choice, check_range, check_whole
from .randomness import generator

CONDITION_KINDS = ("first_frame", "prefix", "suffix", "spatial_crop", "mask")
# A random box has sides of this share of the grid's.
BOX_LOW, BOX_HIGH = 0.25, 0.75

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Condition:
    """One kind of condition, drawn for each sample with ``probability``.

    kind: first_frame, prefix and suffix give latent frames at an end; spatial_crop gives a box of every frame and the
    rest is made (outpainting); mask gives all but a box (inpainting). frames: latent frames of prefix and suffix, 0 for
    a random number up to half. region: (top, left, bottom, right) in latent cells of spatial_crop and mask, empty for a
    random box; a random box of mask also has a random length in time.
    """

    kind: str
    probability: float = 1.0
    frames: int = 0
    region: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_choice("condition kind", self.kind, CONDITION_KINDS)
        check_range(f"probability of {self.kind}", self.probability, 0, 1)
        check_whole(f"frames of {self.kind}", self.frames, 0)
        if self.region and (len(self.region) != 4 or min(self.region) < 0 or self.region[0] >= self.region[2] or self.region[1] >= self.region[3]):
            raise LTX2Error(f"region of {self.kind} is {self.region!r}; give top, left, bottom, right in latent cells (32 pixels), such as 0, 0, 8, 12.")


@dataclass(frozen=True)
class ConditioningSettings:
    """conditions: see :class:`Condition`. frozen_audio, frozen_video: shares of samples with sound whose sound (S2V) or
    video (video to sound) is given whole, at sigma 0, so that only the other is learnt. reference: chance that a sample
    is given its reference video, where there are any. reference_spatial, reference_temporal: how many times larger and
    longer a clip is than its reference; None reads it from the sizes.
    """

    conditions: tuple[Condition, ...] = ()
    frozen_audio: float = 0.0
    frozen_video: float = 0.0
    reference: float = 1.0
    reference_spatial: int | None = None
    reference_temporal: int | None = None

    def __post_init__(self) -> None:
        for name in ("frozen_audio", "frozen_video", "reference"):
            check_range(name, getattr(self, name), 0, 1)
        if self.frozen_audio + self.frozen_video > 1:
            raise LTX2Error(f"frozen_audio and frozen_video are {self.frozen_audio + self.frozen_video:g} together; they exclude each other, so give at most 1.")
        for name in ("reference_spatial", "reference_temporal"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1)

    @property
    def always_given(self) -> str | None:
        """"audio" or "video" when that stream of every sample with sound is given whole."""
        return "audio" if self.frozen_audio >= 1 else "video" if self.frozen_video >= 1 else None


def happens(probability: float, seed: int, *purpose: int | str) -> bool:
    """One draw of a coin that falls true with ``probability``."""
    if probability <= 0:
        return False
    return probability >= 1 or torch.rand((), generator=generator(seed, *purpose)).item() < probability


def _box(sides: Sequence[int], values: torch.Generator) -> list[slice]:
    """A random box: each side between BOX_LOW and BOX_HIGH of the grid's, at least 1, at a random place."""
    slices = []
    for side in sides:
        share, place = torch.rand(2, generator=values).tolist()
        length = max(1, round(side * (BOX_LOW + (BOX_HIGH - BOX_LOW) * share)))
        start = int(place * (side - length + 1))
        slices.append(slice(start, start + length))
    return slices


def _frames(condition: Condition, frames: int, values: torch.Generator) -> int:
    if condition.kind == "first_frame":
        return 1
    return condition.frames or 1 + int(torch.rand((), generator=values).item() * max(1, frames // 2))


def given_cells(condition: Condition, shape: Shape, values: torch.Generator) -> Tensor:
    """[F, H, W] bool, true where ``condition`` gives the clean latents."""
    grid = torch.zeros(shape, dtype=torch.bool)
    if condition.kind in ("first_frame", "prefix"):
        grid[: _frames(condition, shape[0], values)] = True
    elif condition.kind == "suffix":
        grid[max(0, shape[0] - _frames(condition, shape[0], values)) :] = True
    else:
        top, left, bottom, right = condition.region or (0, 0, 0, 0)
        box = [slice(None), slice(top, bottom), slice(left, right)]
        if not condition.region:
            box = _box(shape, values) if condition.kind == "mask" else [slice(None), *_box(shape[1:], values)]
        grid[tuple(box)] = True
        grid = ~grid if condition.kind == "mask" else grid
    return grid


def clean_video_tokens(conditions: Sequence[Condition], shape: Shape, seed: int, step: int, slot: int) -> Tensor:
    """[F*H*W] bool: the video tokens that sample ``slot`` of batch ``step`` is given clean.

    A condition that would give the whole clip (a picture's first frame) is left out: nothing would be left to learn.
    """
    grid = torch.zeros(shape, dtype=torch.bool)
    for number, condition in enumerate(conditions):
        # The purpose of the first of a kind is its name alone, so that adding another kind changes no draw.
        place = sum(c.kind == condition.kind for c in conditions[:number])
        purpose = (condition.kind if not place else f"{condition.kind}#{place}", step, slot)
        if happens(condition.probability, seed, *purpose):
            both = grid | given_cells(condition, shape, generator(seed, "cells", *purpose))
            grid = grid if both.all() else both
    return grid.flatten()


def frozen_stream(settings: ConditioningSettings, seed: int, step: int, slot: int) -> str | None:
    """"audio" or "video" when that stream of a sample with sound is given whole; None when neither is."""
    if not settings.frozen_audio and not settings.frozen_video:
        return None
    u = torch.rand((), generator=generator(seed, "frozen", step, slot)).item()
    if u < settings.frozen_audio:
        return "audio"
    return "video" if u < settings.frozen_audio + settings.frozen_video else None
