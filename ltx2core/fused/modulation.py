"""What a step gives all blocks: text, rotations, and modulations with the row that each token takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LTX2Error
from ..models.forward import BlockInputs
from .ops import Rope


@dataclass(frozen=True)
class Side:
    """One modality's share. text [B*S, D]; own and cross are the rotations of its tokens in its own and in the
    audio-video attention; step, cross_step and gate: modulations [B, T, k*D] with T 1, 2 or N.
    """

    tokens: int
    text: Tensor
    own: Rope
    cross: Rope
    step: Tensor
    cross_step: Tensor
    gate: Tensor
    rows: dict[int, Tensor]

    def index(self, modulation: Tensor) -> Tensor:
        """[B*N] int32: each token's row of ``modulation`` [B*T, …]."""
        return self.rows[modulation.shape[1]]


def _side(tokens: int, text: Tensor, own: Rope, cross: Rope, step: Tensor, cross_step: Tensor, gate: Tensor, noisy: Tensor | None) -> Side:
    batch, device = text.shape[0], text.device
    sample = torch.arange(batch, device=device, dtype=torch.int32)[:, None]
    rows = {1: sample.expand(batch, tokens)}
    if noisy is not None:
        rows[2] = sample * 2 + noisy
    if tokens not in rows:
        rows[tokens] = sample * tokens + torch.arange(tokens, device=device, dtype=torch.int32)
    return Side(tokens, text.flatten(0, 1), own, cross, step, cross_step, gate, {t: r.flatten().contiguous() for t, r in rows.items()})


@dataclass(frozen=True)
class Shared:
    batch: int
    video: Side
    audio: Side

    @classmethod
    def of(cls, inputs: BlockInputs, video_tokens: int, audio_tokens: int) -> Shared:
        """Raises LTX2Error for text masks, which training does not use."""
        if inputs.encoder_attention_mask is not None or inputs.audio_encoder_attention_mask is not None:
            raise LTX2Error("The written-out block takes text without a mask; set compiled blocks instead.")
        i = inputs
        video = _side(video_tokens, i.encoder_hidden_states, i.video_rotary_emb, i.ca_video_rotary_emb, i.temb, i.temb_ca_scale_shift, i.temb_ca_gate, i.video_noisy)
        audio = _side(
            audio_tokens, i.audio_encoder_hidden_states, i.audio_rotary_emb, i.ca_audio_rotary_emb,
            i.temb_audio, i.temb_ca_audio_scale_shift, i.temb_ca_audio_gate, i.audio_noisy,
        )  # fmt: skip
        return cls(i.encoder_hidden_states.shape[0], video, audio)


def rows_of(table: Tensor, values: Tensor) -> Tensor:
    """[B*T, k, D]: a block's own table [k, D] added to the step's modulation [B, T, k*D]."""
    return table + values.reshape(-1, *table.shape)
