"""The part of the transformer that sound alone goes through. Nothing of the picture's weights is read or kept."""

from __future__ import annotations

import torch
from torch import nn

from ..checkpoint.combined import Checkpoint
from ..checkpoint.reader import fill_module
from .build import skeleton

# Parts of a block, and of the model around the blocks; norms have no weights but are modules.
BLOCK_PARTS = ("audio_norm1", "audio_attn1", "audio_norm2", "audio_attn2", "audio_norm3", "audio_ff", "audio_scale_shift_table")
MODEL_PARTS = (
    "audio_proj_in", "audio_proj_out", "audio_norm_out", "audio_caption_projection", "audio_time_embed", "audio_rope", "audio_scale_shift_table", "transformer_blocks",
)  # fmt: skip


def of_sound(name: str) -> bool:
    """Whether the parameter or module ``name`` (diffusers' path) is part of the sound's branch."""
    path = name.split(".")
    return path[2] in BLOCK_PARTS if path[0] == "transformer_blocks" else path[0] in MODEL_PARTS


def _prune(module: nn.Module, parts: tuple[str, ...]) -> None:
    for name in [n for n, _ in module.named_children()] + list(module._parameters):
        if name not in parts:
            delattr(module, name)


def keep_sound(model: nn.Module) -> nn.Module:
    """``model``, a transformer on any device, with all that sound alone never reaches taken out."""
    _prune(model, MODEL_PARTS)
    for block in model.transformer_blocks:
        _prune(block, BLOCK_PARTS)
    return model


def load_audio_branch(checkpoint: Checkpoint, dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """The sound's branch of ``checkpoint``'s transformer on the CPU, in eval mode with frozen weights in ``dtype``: 3.2 of
    19 billion weights. ``train.audio_only.denoise_audio`` runs it.

    Raises:
        CheckpointError: a key missing, unexpected or of the wrong shape, in the picture's part too.
    """
    model, keymap = skeleton(checkpoint, "transformer"), checkpoint.family.components["transformer"]
    return keep_sound(fill_module(model, checkpoint.header, keymap, "transformer", torch.device("cpu"), dtype, left=lambda name: not of_sound(name)))
