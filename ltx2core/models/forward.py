"""One forward pass of the audio-video transformer, shared by training and sampling.

It walks diffusers' ``LTX2VideoTransformer3DModel`` part by part instead of calling its ``forward``, because no flag of
diffusers gives the current official rule for the audio-video cross-attention timesteps, and because streaming,
checkpointing and token routing act between the blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import LTX2Error

# Where the modulation of audio-video cross-attention takes its timestep from:
#   official  scale and shift from a token's own timestep, gate from the other modality's sigma
#   cross     all three from the other modality's sigma (ltx-core 1.0.0)
#   legacy    all three from a token's own timestep (diffusers' default, older hosts)
CrossTimestep = Literal["official", "cross", "legacy"]
CROSS_TIMESTEP_RULES: tuple[str, ...] = ("official", "cross", "legacy")


@dataclass(frozen=True)
class Modality:
    """One stream's input.

    tokens [B, N, C]; sigma [B] float32 in 0..1; coords [B, axes, N, 2]; text features [B, S, D];
    timesteps [B, N] in 0..1, or None for ``sigma`` at every token; text_mask [B, S], 1 = valid, or None for all;
    noisy [B, N] bool in place of timesteps: ``sigma`` where True, 0 elsewhere. The modulation of two timesteps a sample
    is then formed instead of one a token.
    """

    tokens: Tensor
    sigma: Tensor
    coords: Tensor
    text: Tensor
    timesteps: Tensor | None = None
    text_mask: Tensor | None = None
    noisy: Tensor | None = None

    @property
    def token_timesteps(self) -> Tensor:
        """[B, N], or [B, 1] when every token has its sample's sigma."""
        if self.noisy is not None:
            return self.sigma[:, None] * self.noisy
        return self.sigma[:, None] if self.timesteps is None else self.timesteps

    @property
    def modulation_timesteps(self) -> Tensor:
        """What modulation is formed of: [B, 2], 0 and sigma, with ``noisy``, else the tokens' own."""
        return self.token_timesteps if self.noisy is None else torch.stack((torch.zeros_like(self.sigma), self.sigma), dim=1)

    def with_tokens(self, tokens: Tensor, sigma: Tensor, timesteps: Tensor | None) -> Modality:
        return replace(self, tokens=tokens, sigma=sigma, timesteps=timesteps, noisy=None)


@dataclass(frozen=True)
class BlockInputs:
    """What every block receives besides the two hidden states; names are those of diffusers' block."""

    encoder_hidden_states: Tensor
    audio_encoder_hidden_states: Tensor
    temb: Tensor
    temb_audio: Tensor
    temb_ca_scale_shift: Tensor
    temb_ca_audio_scale_shift: Tensor
    temb_ca_gate: Tensor
    temb_ca_audio_gate: Tensor
    video_rotary_emb: tuple[Tensor, Tensor]
    audio_rotary_emb: tuple[Tensor, Tensor]
    ca_video_rotary_emb: tuple[Tensor, Tensor]
    ca_audio_rotary_emb: tuple[Tensor, Tensor]
    encoder_attention_mask: Tensor | None
    audio_encoder_attention_mask: Tensor | None
    video_noisy: Tensor | None = None
    audio_noisy: Tensor | None = None

    def arguments(self) -> dict[str, Any]:
        """Of diffusers' block: the modulation of both timesteps is spread over the tokens here, inside a compiled block."""
        values = dict(vars(self))
        for names, noisy in ((_VIDEO_MODULATION, values.pop("video_noisy")), (_AUDIO_MODULATION, values.pop("audio_noisy"))):
            values |= {name: _spread(values[name], noisy) for name in names}
        return values


_VIDEO_MODULATION = ("temb", "temb_ca_scale_shift", "temb_ca_gate")
_AUDIO_MODULATION = ("temb_audio", "temb_ca_audio_scale_shift", "temb_ca_audio_gate")


def _spread(values: Tensor, noisy: Tensor | None) -> Tensor:
    """[B, 2, D] -> [B, N, D]: the second row where ``noisy`` [B, N], else the first; others are passed on."""
    if noisy is None or values.shape[1] == 1:
        return values
    return torch.where(noisy[..., None], values[:, 1:], values[:, :1])


def _modulation(embed: nn.Module, timesteps: Tensor, scale: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """AdaLN of timesteps [B, N]: (modulation [B, N, k*D], embedded timestep [B, N, D])."""
    batch = timesteps.shape[0]
    values, embedded = embed(timesteps.flatten() * scale, batch_size=batch, hidden_dtype=dtype)
    return values.view(batch, -1, values.shape[-1]), embedded.view(batch, -1, embedded.shape[-1])


def _cross_modulation(model: nn.Module, own: Modality, other: Modality, side: str, rule: CrossTimestep, dtype: torch.dtype):
    """Scale-shift and gate of one side's audio-video cross-attention, by ``rule``."""
    scale = model.config.timestep_scale_multiplier
    gate_scale = model.config.cross_attn_timestep_scale_multiplier
    own_steps, other_sigma = own.modulation_timesteps, other.sigma[:, None]
    scale_shift_embed, gate_embed = {
        "video": (model.av_cross_attn_video_scale_shift, model.av_cross_attn_video_a2v_gate),
        "audio": (model.av_cross_attn_audio_scale_shift, model.av_cross_attn_audio_v2a_gate),
    }[side]
    scale_shift, _ = _modulation(scale_shift_embed, other_sigma if rule == "cross" else own_steps, scale, dtype)
    gate, _ = _modulation(gate_embed, own_steps if rule == "legacy" else other_sigma, gate_scale, dtype)
    return scale_shift, gate


def _attention_bias(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """[B, S] of ones and zeros -> additive bias [B, 1, S]."""
    return None if mask is None else ((1 - mask.to(dtype)) * -10000.0)[:, None]


def prepare_blocks(model: nn.Module, video: Modality, audio: Modality, rule: CrossTimestep, dtype: torch.dtype):
    """Everything that is formed once a step. Returns (BlockInputs, video embedded timestep, audio embedded timestep)."""
    scale = model.config.timestep_scale_multiplier
    device = video.tokens.device
    temb, embedded = _modulation(model.time_embed, video.modulation_timesteps, scale, dtype)
    temb_audio, audio_embedded = _modulation(model.audio_time_embed, audio.modulation_timesteps, scale, dtype)
    video_ca, video_gate = _cross_modulation(model, video, audio, "video", rule, dtype)
    audio_ca, audio_gate = _cross_modulation(model, audio, video, "audio", rule, dtype)
    inputs = BlockInputs(
        encoder_hidden_states=model.caption_projection(video.text.to(dtype)),
        audio_encoder_hidden_states=model.audio_caption_projection(audio.text.to(dtype)),
        temb=temb,
        temb_audio=temb_audio,
        temb_ca_scale_shift=video_ca,
        temb_ca_audio_scale_shift=audio_ca,
        temb_ca_gate=video_gate,
        temb_ca_audio_gate=audio_gate,
        video_rotary_emb=model.rope(video.coords, device=device),
        audio_rotary_emb=model.audio_rope(audio.coords, device=device),
        ca_video_rotary_emb=model.cross_attn_rope(video.coords[:, 0:1], device=device),
        ca_audio_rotary_emb=model.cross_attn_audio_rope(audio.coords[:, 0:1], device=device),
        encoder_attention_mask=_attention_bias(video.text_mask, dtype),
        audio_encoder_attention_mask=_attention_bias(audio.text_mask, dtype),
        video_noisy=video.noisy,
        audio_noisy=audio.noisy,
    )
    return inputs, _spread(embedded, video.noisy), _spread(audio_embedded, audio.noisy)


Forward = Callable[..., tuple[Tensor, Tensor]]  # called as ``denoise``
BlockRunner = Callable[[int, nn.Module, Tensor, Tensor, BlockInputs], tuple[Tensor, Tensor]]


def run_block(index: int, block: nn.Module, hidden: Tensor, audio_hidden: Tensor, inputs: BlockInputs) -> tuple[Tensor, Tensor]:
    return block(hidden_states=hidden, audio_hidden_states=audio_hidden, **inputs.arguments())


def run_block_checkpointed(index: int, block: nn.Module, hidden: Tensor, audio_hidden: Tensor, inputs: BlockInputs) -> tuple[Tensor, Tensor]:
    """The same, keeping only the block's inputs for backward. A block draws no random numbers: an adapter's dropout has keys."""
    return checkpoint(run_block, index, block, hidden, audio_hidden, inputs, use_reentrant=False, preserve_rng_state=False)


def _output(hidden: Tensor, embedded: Tensor, table: Tensor, norm: nn.Module, project: nn.Module) -> Tensor:
    shift, scale = (table[None, None] + embedded[:, :, None]).unbind(dim=2)
    return project(norm(hidden) * (1 + scale) + shift)


def denoise(
    model: nn.Module,
    video: Modality,
    audio: Modality,
    *,
    av_cross_timestep: CrossTimestep = "official",
    runner: BlockRunner | None = None,
) -> tuple[Tensor, Tensor]:
    """Velocities (noise - x0) of both streams.

    Args:
        model: diffusers' LTX-2 transformer (family 2.0), adapters injected or not.
        video, audio: the two streams; see :class:`Modality`.
        av_cross_timestep: ``official``, ``cross`` or ``legacy``; must be the same in training and sampling.
        runner: how one block is run (checkpointed, streamed, routed); plain by default, checkpointed when
            ``model.gradient_checkpointing`` is set and gradients are on.

    Returns:
        ([B, Nv, 128], [B, Na, 128]) in the model's dtype.
    """
    if av_cross_timestep not in CROSS_TIMESTEP_RULES:
        raise LTX2Error(f"av_cross_timestep is {av_cross_timestep!r}; choose one of {', '.join(CROSS_TIMESTEP_RULES)}.")
    if runner is None:
        runner = run_block_checkpointed if model.gradient_checkpointing and torch.is_grad_enabled() else run_block
    dtype = model.proj_in.weight.dtype if model.proj_in.weight.is_floating_point() else video.tokens.dtype
    inputs, embedded, audio_embedded = prepare_blocks(model, video, audio, av_cross_timestep, dtype)
    hidden, audio_hidden = model.proj_in(video.tokens.to(dtype)), model.audio_proj_in(audio.tokens.to(dtype))
    for index, block in enumerate(model.transformer_blocks):
        hidden, audio_hidden = runner(index, block, hidden, audio_hidden, inputs)
    return (
        _output(hidden, embedded, model.scale_shift_table, model.norm_out, model.proj_out),
        _output(audio_hidden, audio_embedded, model.audio_scale_shift_table, model.audio_norm_out, model.audio_proj_out),
    )
