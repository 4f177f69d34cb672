"""The host's pair of video and sound latents."""

from __future__ import annotations

from torch import Tensor


def split_latent(samples) -> tuple[Tensor, Tensor | None]:
    """A LATENT's samples -> (video [B,128,F,H,W], audio [B,8,T,16] or None for a plain video latent)."""
    if getattr(samples, "is_nested", False):
        video, audio = samples.unbind()
        return video, audio
    return samples, None


def join_latent(video: Tensor, audio: Tensor):
    from comfy.nested_tensor import NestedTensor

    return NestedTensor((video, audio))
