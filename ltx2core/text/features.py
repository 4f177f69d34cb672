"""Text features after the connectors: what training and sampling read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .encoder import TextEncoder


@dataclass(frozen=True)
class TextFeatures:
    """video and audio [B, 1024, D]. No mask: the connectors fill padding with learned registers, all tokens count."""

    video: Tensor
    audio: Tensor


def after_connectors(connectors: nn.Module, states: Tensor, mask: Tensor, dtype: torch.dtype = torch.bfloat16) -> TextFeatures:
    """Features in ``dtype`` of hidden states [B, S, D, layers + 1] padded on the left, ``mask`` [B, S]."""
    video, audio, _ = connectors(states.to(next(connectors.parameters()).dtype), mask, padding_side="left")
    return TextFeatures(video.to(dtype), audio.to(dtype))


@torch.no_grad()
def encode_prompts(encoder: TextEncoder, connectors: nn.Module, prompts: Sequence[str], dtype: torch.dtype = torch.bfloat16) -> list[TextFeatures]:
    """One :class:`TextFeatures` a prompt, each [1, 1024, D]; one prompt at a time, since 49 states of 1024 tokens are large."""
    return [after_connectors(connectors, *encoder.hidden_states([prompt]), dtype) for prompt in prompts]
