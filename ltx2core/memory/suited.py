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


def drops(blocks: Iterable[nn.Module]) -> bool:
    """Whether values are dropped at random. A block that is computed again must drop the same ones."""
    return any(isinstance(module, nn.Dropout) and module.p > 0 for block in blocks for module in block.modules())


def suited(settings: MemorySettings, model: nn.Module) -> MemorySettings:
    """``settings`` without what the adapters in ``model`` rule out."""
    if before_blocks(name for name, p in model.named_parameters() if p.requires_grad):
        settings = replace(settings, fused=False)
    return with_dropout(settings, len(model.transformer_blocks)) if drops(model.transformer_blocks) else settings


def with_dropout(settings: MemorySettings, blocks: int) -> MemorySettings:
    """``settings`` for a model of ``blocks`` that drops values. Where some are computed again, random numbers must be set back,
    which cannot be done inside a captured step, and a compiled block may draw them in another order.
    """
    settings = replace(settings, fused=False)
    return settings if settings.kept >= blocks else replace(settings, compiled=False, captured=False)
