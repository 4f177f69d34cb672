"""Reference videos (IC-LoRA): their tokens stand in front of the clip's, clean, at timestep 0, without loss.

A reference may be smaller or have fewer frames than its clip. Its coordinates are then stretched to the clip's, and the
factors are written into the adapter's metadata under the names that Lightricks' loader, ComfyUI and Lightricks' trainer know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..cache.dataset import CachedClip, DatasetCache
from ..cache.store import Store
from ..errors import LTX2Error
from ..geometry import latent_frames
from ..models.latents import pack_video, video_coords
from .conditioning import ConditioningSettings

if TYPE_CHECKING:
    from .batch import StreamInputs


@dataclass(frozen=True)
class ReferenceScale:
    """How many times larger (``spatial``) and longer (``temporal``) a clip is than its reference."""

    spatial: int = 1
    temporal: int = 1

    @property
    def metadata(self) -> Mapping[str, str]:
        spatial = {name: str(self.spatial) for name in ("reference_downscale_factor", "reference_spatial_scale_factor")}
        return {**spatial, "reference_temporal_scale_factor": str(self.temporal)}


def find_scale(clip: tuple[int, int, int], reference: tuple[int, int, int], settings: ConditioningSettings) -> ReferenceScale:
    """The factors between two grids (F, H, W) of latent cells.

    Raises:
        LTX2Error: the sides are no whole multiples, or differ between height and width, or contradict the settings.
    """
    spatial, temporal = settings.reference_spatial, settings.reference_temporal
    if spatial is None:
        spatial = max(1, clip[1] // reference[1])
    if temporal is None:
        temporal = max(1, (clip[0] - 1) // (reference[0] - 1)) if reference[0] > 1 else 1
    if (reference[1] * spatial, reference[2] * spatial) != clip[1:]:
        raise LTX2Error(f"A reference of {reference[1:]} latent cells does not fit a clip of {clip[1:]}; cache references at the clips' size or a whole fraction of it.")
    if reference[0] > 1 and temporal > 1 and (reference[0] - 1) * temporal != clip[0] - 1:
        raise LTX2Error(f"A reference of {reference[0]} latent frames does not fit a clip of {clip[0]}; cache references with the clips' frames or a whole fraction.")
    return ReferenceScale(spatial, temporal)


def reference_coords(batch: int, grid: tuple[int, int, int], frame_rate: float, scale: ReferenceScale) -> Tensor:
    """[B, 3, N, 2] float32, stretched to the clip's: pixels times ``spatial``; time t becomes
    max(temporal * t - (temporal - 1) / rate, 0), so that the first frame, which lasts one pixel frame, stays in place.
    """
    coords = video_coords(batch, *grid, frame_rate).clone()
    coords[:, 1:] *= scale.spatial
    coords[:, 0] = (scale.temporal * coords[:, 0] - (scale.temporal - 1) / frame_rate).clamp(min=0)
    return coords


def prepend_reference(video: StreamInputs, latents: Tensor, given: Tensor, frame_rate: float, scale: ReferenceScale, dtype: torch.dtype) -> StreamInputs:
    """``video`` with the tokens of ``latents`` [B, 128, f, h, w] in front.

    Args:
        given: [B] bool; a sample that is not given its reference sees zeros in its place, at timestep 0.
    """
    tokens = pack_video(latents.float()) * given[:, None, None]
    batch, count = tokens.shape[:2]
    coords = reference_coords(batch, tuple(latents.shape[2:]), frame_rate, scale)
    own = video.timesteps if video.timesteps is not None else video.sigma[:, None].expand(video.mask.shape)
    zeros = torch.zeros(batch, count)
    return replace(
        video, tokens=torch.cat((tokens.to(dtype), video.tokens), 1), target=torch.cat((torch.zeros_like(tokens), video.target), 1),
        mask=torch.cat((zeros, video.mask), 1), coords=torch.cat((coords, video.coords), 2), timesteps=torch.cat((zeros, own), 1),
    )  # fmt: skip


@dataclass(frozen=True)
class References:
    """The reference videos of a dataset: a cache of its own, joined by file name without ending."""

    cache: DatasetCache

    @cached_property
    def _by_stem(self) -> dict[str, CachedClip]:
        return {Path(c.source).stem: c for c in self.cache.clips}

    def clip(self, clip: CachedClip) -> CachedClip:
        """Raises LTX2Error when ``clip`` has no reference."""
        stem = Path(clip.source).stem
        if stem not in self._by_stem:
            raise LTX2Error(f"{clip.source} has no reference video; put one named {stem} into the reference folder and cache it.")
        return self._by_stem[stem]

    def latents(self, clip: CachedClip) -> Tensor:
        """[128, f, h, w]."""
        return Store(self.cache.root).read("latents", self.clip(clip).latents)[0]["video"]

    def check(self, cache: DatasetCache, settings: ConditioningSettings) -> ReferenceScale:
        """The factors of all clips of ``cache``. Raises LTX2Error when one has no reference, or they differ."""
        found: dict[ReferenceScale, str] = {}
        for clip in cache.clips:
            sizes = [(latent_frames(c.frames), c.height // 32, c.width // 32) for c in (clip, self.clip(clip))]
            found.setdefault(find_scale(*sizes, settings), clip.source)
        if len(found) > 1:
            raise LTX2Error(f"References have several scales ({', '.join(found.values())} differ); cache all at one fraction of their clips' size and length.")
        return next(iter(found), ReferenceScale())
