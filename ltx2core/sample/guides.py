"""Pictures that a clip is to show at chosen frames: tokens beside the clip's own, with the coordinates of those frames.

A latent frame after the first holds eight pictures, so a single one cannot stand in its place; the first frame's can, and
does (``conditions.Keyframe``). The official pipelines do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LTX2Error
from ..models.handle import Models
from ..models.latents import pack_video, video_coords
from ..protocols import Residency
from .conditions import Keyframe, State
from .given import Picture, check_strength, encode_pictures
from .noise import noise_beside
from .settings import SampleSettings

_NOISE = 0x6B  # guides' noise has seeds of its own, so that the clip's is the same with and without them


@dataclass(frozen=True)
class Guide:
    """latents [B or 1, 128, 1, H', W'] of a picture shown at pixel frame ``frame``; strength 1 shows it to the model as it is."""

    latents: Tensor
    frame: int
    strength: float = 1.0


def pixel_frame(frame: int, settings: SampleSettings) -> int:
    """``frame`` counted from the beginning; negative ones are from the end.

    Raises:
        LTX2Error: outside the clip.
    """
    position = frame if frame >= 0 else settings.frames + frame
    if not 0 <= position < settings.frames:
        raise LTX2Error(f"A picture is put at frame {frame} and the clip has {settings.frames}; choose 0 to {settings.frames - 1}, or -1 for the last.")
    return position


def encode_guides(
    models: Models, pictures: Sequence[Picture], settings: SampleSettings, residency: Residency, taken: int = 0
) -> tuple[tuple[Keyframe, ...], tuple[Guide, ...]]:
    """The first frame's picture, which stands in its place, and those of later frames.

    Args:
        taken: frames at the beginning that show something else already.

    Raises:
        LTX2Error: two pictures for one frame, one outside the clip or within ``taken``, a strength outside 0..1.
    """
    used: set[int] = set()
    keyframes: list[Keyframe] = []
    guides: list[Guide] = []
    for picture in pictures:
        frame = pixel_frame(picture.frame, settings)
        if frame in used:
            raise LTX2Error(f"Two pictures are given for frame {frame}; put one of them at another frame.")
        if frame < taken:
            raise LTX2Error(f"A picture is put at frame {frame}, where the beginning of {taken} frames is shown; put it at frame {taken} or later.")
        used.add(frame)
        latents, strength = encode_pictures(models, picture.image[:1], settings, residency), check_strength(picture.strength)
        if frame == 0:
            keyframes.append(Keyframe(latents, 0, strength))
        else:
            guides.append(Guide(latents, frame, strength))
    return tuple(keyframes), tuple(guides)


def guide_coords(batch: int, height: int, width: int, frame: int, frame_rate: float, device: torch.device) -> Tensor:
    """[B, 3, H'·W', 2] float32: the cells of a clip's frame, from ``frame`` to ``frame + 1`` in time (in seconds)."""
    coords = video_coords(batch, 1, height, width, frame_rate, device).clone()
    coords[:, 0, :, 0], coords[:, 0, :, 1] = frame / frame_rate, (frame + 1) / frame_rate
    return coords


def with_guides(state: State, guides: Sequence[Guide], noise: Tensor, frame_rate: float, sigma: float = 1.0) -> State:
    """``state`` with the tokens of ``guides`` behind its own.

    Args:
        noise: [B, 128, number of guides, H', W'], for guides that are not kept wholly.
        sigma: at which the state begins; there is nothing but the guide to begin from, so the rest is zeros there.

    Raises:
        LTX2Error: the video is held, so nothing would be made.
    """
    if not guides:
        return state
    if state.held:
        raise LTX2Error("A video that is held clean takes no pictures; leave one of the two away.")
    batch = state.tokens.shape[0]
    for i, guide in enumerate(guides):
        height, width = guide.latents.shape[3:]
        clean = pack_video(guide.latents.to(state.tokens)).expand(batch, -1, -1)
        mask = torch.full_like(clean[..., :1], 1 - guide.strength)
        tokens = torch.lerp(clean, sigma * pack_video(noise[:, :, i : i + 1].to(state.tokens)), mask)
        coords = guide_coords(batch, height, width, guide.frame, frame_rate, state.coords.device).to(state.coords)
        added = zip((state.tokens, state.clean, state.mask, state.coords), (tokens, clean, mask, coords), (1, 1, 1, 2), strict=True)
        state = State(*(torch.cat(pair, dim=dim) for *pair, dim in added))
    return state


def guided(state: State, guides: Sequence[Guide], settings: SampleSettings, sigma: float = 1.0) -> State:
    """:func:`with_guides` with the noise of the settings' seeds."""
    if not guides:
        return state
    noise = noise_beside(settings, (len(guides), *settings.latent_size[1:]), _NOISE)
    return with_guides(state, guides, noise, settings.frame_rate, sigma)
