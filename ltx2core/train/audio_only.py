"""The sound's branch alone: self-attention, text attention and feed-forward of the audio stream in every block.

Nothing of the video is computed: its tokens, its weights and both attentions between picture and sound stay out.
Modulation as in the whole model: x + gate * f(norm(x) * (1 + scale) + shift), six values a block from the timestep.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..cache.dataset import CachedClip, DatasetCache, Sample
from ..data.clip import Clip
from ..errors import LTX2Error
from ..models.audio_branch import of_sound
from ..models.forward import Modality


def _modulation(embed: nn.Module, timesteps: Tensor, scale: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """[B, N] -> ([B, N, k*D], [B, N, D])."""
    values, embedded = embed(timesteps.flatten() * scale, batch_size=len(timesteps), hidden_dtype=dtype)
    return values.unflatten(0, timesteps.shape).flatten(2), embedded.unflatten(0, timesteps.shape).flatten(2)


def _block(block: nn.Module, hidden: Tensor, text: Tensor, temb: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    table = block.audio_scale_shift_table
    shift_attention, scale_attention, gate_attention, shift, scale, gate = (table + temb.unflatten(-1, table.shape)).unbind(dim=2)
    normed = block.audio_norm1(hidden) * (1 + scale_attention) + shift_attention
    hidden = hidden + gate_attention * block.audio_attn1(normed, encoder_hidden_states=None, query_rotary_emb=rotary)
    hidden = hidden + block.audio_attn2(block.audio_norm2(hidden), encoder_hidden_states=text, query_rotary_emb=None)
    return hidden + gate * block.audio_ff(block.audio_norm3(hidden) * (1 + scale) + shift)


def denoise_audio(model: nn.Module, audio: Modality, *, checkpointed: bool = False) -> Tensor:
    """Velocity [B, N, 128] of the sound without any video.

    Args:
        checkpointed: recompute each block in backward.
    """
    dtype = model.audio_proj_in.weight.dtype
    temb, embedded = _modulation(model.audio_time_embed, audio.token_timesteps, model.config.timestep_scale_multiplier, dtype)
    text = model.audio_caption_projection(audio.text.to(dtype))
    rotary = model.audio_rope(audio.coords, device=audio.tokens.device)
    hidden = model.audio_proj_in(audio.tokens.to(dtype))
    for block in model.transformer_blocks:
        if checkpointed and torch.is_grad_enabled():
            hidden = checkpoint(_block, block, hidden, text, temb, rotary, use_reentrant=False, preserve_rng_state=False)
        else:
            hidden = _block(block, hidden, text, temb, rotary)
    shift, scale = (model.audio_scale_shift_table + embedded[:, :, None]).unbind(dim=2)
    return model.audio_proj_out(model.audio_norm_out(hidden) * (1 + scale) + shift)


def without_video(sample: Sample) -> tuple[int, int, int, int]:
    """Shape of the zero video latents that stand for a sample's picture: its length, one cell a frame."""
    channels, frames = sample.video_latents.shape[:2]
    return channels, frames, 1, 1


def check_pictures(clips: Iterable[CachedClip | Clip]) -> None:
    """Clips of sound alone stand beside zero video latents, which must not be learned as a picture.

    Raises:
        LTX2Error: names the first such clip.
    """
    bare = next((c for c in clips if not c.has_video), None)
    if bare is not None:
        name = Path(bare.path).name or bare.source
        raise LTX2Error(f"{name} is sound without picture; switch on audio_only, or take sound files out of the dataset.")


def check_audio_only(cache: DatasetCache, modules: Sequence[str]) -> None:
    """Raises LTX2Error when a clip has no sound, or a layer would never be reached."""
    silent = [c.source for c in cache.clips if not c.has_audio]
    if silent:
        raise LTX2Error(f"Training sound alone needs sound in every clip and {silent[0]} has none ({len(silent)} of {len(cache)}); take them out of the folder.")
    strange = [m for m in modules if not of_sound(m)]
    if strange:
        raise LTX2Error(f"Training sound alone never reaches {strange[0]}; set targets to audio_only, audio or audio_ff.")
