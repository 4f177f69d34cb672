"""What is given and what is to be made: clean latents and a mask that says how far each token is noised."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LTX2Error
from ..models.latents import audio_coords, pack_audio, pack_video, video_coords
from .settings import SampleSettings


@dataclass(frozen=True)
class Keyframe:
    """latents [B or 1, 128, f, H', W'] put at latent frame ``index``; strength 1 keeps them, 0 ignores them."""

    latents: Tensor
    index: int = 0
    strength: float = 1.0


@dataclass(frozen=True)
class State:
    """One modality while it is denoised.

    tokens [B, N, C] now; clean [B, N, C] what is given; mask [B, N, 1], 1 where all is to be made, 0 where ``clean``
    stays; held: nothing is made, the modality's sigma is 0 for the other one too. all_new: whether the mask is 1 everywhere;
    looked up once, since a card is waited for.
    """

    tokens: Tensor
    clean: Tensor
    mask: Tensor
    coords: Tensor
    held: bool = False
    all_new: bool | None = None

    def __post_init__(self) -> None:
        if self.all_new is None:
            object.__setattr__(self, "all_new", bool((self.mask == 1).all()))

    def sigma(self, sigma: Tensor) -> Tensor:
        """[B], 0 for a held modality."""
        value = torch.zeros_like(sigma) if self.held else sigma
        return value.expand(self.tokens.shape[0])

    def timesteps(self, sigma: Tensor) -> Tensor | None:
        """[B, N]; None when every token has its sample's sigma."""
        return None if self.held or self.all_new else (self.mask * sigma)[..., 0]


def noised(clean: Tensor, noise: Tensor, mask: Tensor, coords: Tensor, held: bool = False) -> State:
    """The first state: between ``clean`` and ``noise`` by the mask (at sigma 1)."""
    return State(torch.lerp(clean, noise, mask), clean, mask, coords, held)


def video_state(settings: SampleSettings, noise: Tensor, keyframes: tuple[Keyframe, ...] = (), held: Tensor | None = None) -> State:
    """noise [B, 128, F', H', W'].

    Raises:
        LTX2Error: a keyframe or the held video does not fit the size.
    """
    frames, height, width = settings.latent_size
    coords = video_coords(noise.shape[0], frames, height, width, settings.frame_rate, noise.device)
    if held is not None:
        clean = held.to(noise).expand_as(noise)
        mask = torch.zeros_like(noise[:, :1])
        return noised(pack_video(clean), pack_video(noise), pack_video(mask), coords, held=True)
    clean, mask = torch.zeros_like(noise), torch.ones_like(noise[:, :1])
    for key in keyframes:
        end = key.index + key.latents.shape[2]
        if key.index < 0 or end > frames or key.latents.shape[3:] != noise.shape[3:]:
            raise LTX2Error(
                f"A condition of latent size {tuple(key.latents.shape[2:])} at latent frame {key.index} does not fit a clip of "
                f"{(frames, height, width)}; use a picture or clip of the same size and fewer frames."
            )
        clean[:, :, key.index : end] = key.latents.to(noise)
        mask[:, :, key.index : end] = 1 - key.strength
    return noised(pack_video(clean), pack_video(noise), pack_video(mask), coords)


def audio_state(noise: Tensor, held: Tensor | None = None, beginning: Tensor | None = None) -> State:
    """noise [B, 8, T, 16]; ``held`` sound of the same length stays clean, ``beginning`` [1, 8, t, 16] stays in front of what is made.

    Raises:
        LTX2Error: a sound of another length, or a beginning that leaves nothing to make.
    """
    coords = audio_coords(noise.shape[0], noise.shape[2], noise.device)
    if held is not None:
        if held.shape[2] != noise.shape[2]:
            raise LTX2Error(f"The given sound has {held.shape[2]} latent frames, the clip needs {noise.shape[2]}; encode it at the clip's length.")
        clean = pack_audio(held.to(noise).expand_as(noise))
        return noised(clean, pack_audio(noise), torch.zeros_like(clean[..., :1]), coords, held=True)
    clean, tokens = torch.zeros_like(noise), pack_audio(noise)
    mask = torch.ones_like(tokens[..., :1])
    if beginning is not None:
        if beginning.shape[2] >= noise.shape[2]:
            raise LTX2Error(f"The sound of the beginning has {beginning.shape[2]} latent frames and the clip {noise.shape[2]}; ask for a longer clip.")
        clean[:, :, : beginning.shape[2]] = beginning.to(noise)
        mask[:, : beginning.shape[2]] = 0
    return noised(pack_audio(clean), tokens, mask, coords)
