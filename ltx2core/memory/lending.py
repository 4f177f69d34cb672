"""Blocks whose weights lie in a store are lent them while they run, so that whatever calls a block finds it whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .quantize import dequantised
from .stores import WeightStore


def _frozen(block: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in block.named_parameters() if not p.requires_grad}


class _Lender:
    """The two hooks of one block: before its forward pass its weights are put in place, after it they are taken out."""

    def __init__(self, store: WeightStore, index: int, count: int, dtype: torch.dtype):
        self._store, self._index, self._dtype = store, index, dtype
        # After the last block the next pass begins with the first.
        self._ahead = [(index + i) % count for i in range(1, count)]
        self._own: dict[str, Tensor] = {}

    def lend(self, block: nn.Module, inputs: tuple) -> None:
        weights = dequantised(self._store.acquire(self._index, self._ahead), self._dtype)
        for name, parameter in _frozen(block).items():
            self._own[name] = parameter.data
            parameter.data = weights[name].to(self._dtype)

    def take_back(self, block: nn.Module, inputs: tuple, output: object) -> None:
        for name, parameter in _frozen(block).items():
            if name in self._own:
                parameter.data = self._own.pop(name)
        self._store.release(self._index)


@contextmanager
def lent(transformer: nn.Module, store: WeightStore, dtype: torch.dtype) -> Iterator[nn.Module]:
    """``transformer`` with the blocks of ``store`` (see ``engine.make_store``), one block's weights in ``dtype`` at a time.

    For sampling: any hook, guidance or adapter that works on plain blocks works on these. Afterwards the blocks' own
    parameters are as they were before.
    """
    blocks = list(transformer.transformer_blocks)
    handles = []
    for index, block in enumerate(blocks):
        lender = _Lender(store, index, len(blocks), dtype)
        handles += [block.register_forward_pre_hook(lender.lend, prepend=True), block.register_forward_hook(lender.take_back, always_call=True)]
    try:
        yield transformer
    finally:
        for handle in handles:
            handle.remove()
