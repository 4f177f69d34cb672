"""Text features after the connectors: what training and sampling read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import LTX2Error
from .encoder import MAX_TOKENS, TextEncoder


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
    """One :class:`TextFeatures` a prompt, each [1, 1024, D].

    Prompts of one length go through the text encoder together, at most 1024 tokens of them; through the connectors one at
    a time, since 49 states of 1024 tokens are large.
    """
    by_length: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        by_length.setdefault(encoder.length(prompt), []).append(place)
    found: dict[int, TextFeatures] = {}
    for length, places in by_length.items():
        together = max(1, MAX_TOKENS // length)
        for group in (places[i : i + together] for i in range(0, len(places), together)):
            states, mask = encoder.hidden_states([prompts[i] for i in group])
            for row, place in enumerate(group):
                found[place] = after_connectors(connectors, *_whole(states[row : row + 1], mask[row : row + 1]), dtype)
    return [found[place] for place in range(len(prompts))]


def _whole(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Padded on the left to 1024 tokens, which the connectors fill up."""
    missing = MAX_TOKENS - mask.shape[1]
    return F.pad(states, (0, 0, 0, 0, missing, 0)), F.pad(mask, (missing, 0))
