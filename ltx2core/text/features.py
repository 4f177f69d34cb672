"""Text features after the connectors: what training and sampling read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from .encoder import TextEncoder


@dataclass(frozen=True)
class TextFeatures:
    """video and audio [B, 1024, D]. No mask: the connectors fill padding with learned registers, all tokens count."""

    video: Tensor
    audio: Tensor


def side_by_side(features: TextFeatures) -> Tensor:
    """float32 [B, S, 2 D] on the CPU, video first: how ComfyUI's conditioning holds both."""
    return torch.cat([features.video, features.audio], dim=-1).float().cpu()


def from_side_by_side(joined: Tensor, dtype: torch.dtype = torch.bfloat16) -> TextFeatures:
    """The features that :func:`side_by_side` joined.

    Raises:
        LTX2Error: not [B, S, 2 D].
    """
    if joined.ndim != 3 or joined.shape[-1] % 2:
        raise LTX2Error(f"The conditioning has shape {tuple(joined.shape)}, and LTX-2's is [batch, tokens, video and audio features]; encode the prompt with LTX-2's text encoder.")
    video, audio = joined.to(dtype).chunk(2, dim=-1)
    return TextFeatures(video.contiguous(), audio.contiguous())


def after_connectors(connectors: nn.Module, states: Tensor, mask: Tensor, dtype: torch.dtype = torch.bfloat16) -> TextFeatures:
    """Features in ``dtype`` of hidden states [B, S, D, layers + 1] padded on the left, ``mask`` [B, S]."""
    video, audio, _ = connectors(states.to(next(connectors.parameters()).dtype), mask, padding_side="left")
    return TextFeatures(video.to(dtype), audio.to(dtype))


@torch.no_grad()
def encode_prompts(encoder: TextEncoder, connectors: nn.Module, prompts: Sequence[str], dtype: torch.dtype = torch.bfloat16) -> list[TextFeatures]:
    """One :class:`TextFeatures` a prompt, each [1, 1024, D]; one prompt at a time, since 49 states of 1024 tokens are large."""
    return [after_connectors(connectors, *encoder.hidden_states([prompt]), dtype) for prompt in prompts]
