"""Brings all of a transformer onto the device but its blocks, which the memory engine places itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..protocols import Residency, Room


class WithoutBlocks:
    """A residency around another one. Modules without ``transformer_blocks`` are handed on as they are."""

    def __init__(self, inner: Residency, block_bytes: int = 0):
        self._inner, self._block_bytes = inner, block_bytes

    @property
    def device(self) -> torch.device:
        return self._inner.device

    @contextmanager
    def use(self, module: nn.Module, working_bytes: int = 0) -> Iterator[nn.Module]:
        """``block_bytes`` are asked for beside ``working_bytes``, so that others make room for the blocks too."""
        if not hasattr(module, "transformer_blocks"):
            with self._inner.use(module, working_bytes):
                yield module
            return
        blocks = module.transformer_blocks
        module.transformer_blocks = nn.ModuleList()
        try:
            with self._inner.use(module, working_bytes + self._block_bytes):
                module.transformer_blocks = blocks
                yield module
        finally:
            module.transformer_blocks = blocks

    def release(self, module: nn.Module) -> None:
        self._inner.release(module)

    def room(self) -> Room:
        return self._inner.room()
