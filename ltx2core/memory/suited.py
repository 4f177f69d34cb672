"""What adapters rule out of how a step can be run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from .engine import MemorySettings

# Parts of the model whose adapters a block's gradients never reach.
_FROM_THE_BLOCKS_ON = ("transformer_blocks.", "proj_out.", "audio_proj_out.")


def before_blocks(names: Iterable[str]) -> bool:
    """Whether one of ``names``, of layers or parameters, has a part in what the blocks read. Written-out blocks give gradients
    to none but their own adapters.
    """
    return any(not f"{name}.".startswith(_FROM_THE_BLOCKS_ON) for name in names)


def suited(settings: MemorySettings, model: nn.Module) -> MemorySettings:
    """``settings`` without what the adapters in ``model`` rule out."""
    if before_blocks(name for name, p in model.named_parameters() if p.requires_grad):
        return replace(settings, fused=False)
    return settings
