"""Products of adapters whose input has holes: dropout, on a card in 16 bits without a copy of an input that has them.

What is left out is told by a value's place and a key (``train.dropout``), so backward finds it again by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..train.dropout import KeyedDropout, dropped
from . import ops

_RANKS_AT_ONCE = 128  # a kernel's tile of all ranks lies in shared memory beside the others


def _fast(x: Tensor, *others: Tensor) -> bool:
    # In 32 bits the kernels' products would have fewer digits than a matrix library's.
    return ops.fast(x) and all(t.dtype == x.dtype and x.itemsize == 2 for t in (x, *others))


def _strips(rank: int) -> list[slice]:
    return [slice(start, start + _RANKS_AT_ONCE) for start in range(0, rank, _RANKS_AT_ONCE)]


def times_down(x: Tensor, down: Tensor, drop: KeyedDropout | None, out: Tensor) -> None:
    """out [rows, r] = dropped(x) down^T, with x [rows, I] and down [r, I]."""
    if drop is None:
        torch.mm(x, down.t(), out=out)
    elif _fast(x, down):
        from .dropped_kernels import times_down as kernel

        for strip in _strips(down.shape[0]):
            kernel(x, down[strip], drop.key, drop.p, out[:, strip])
    else:
        out.copy_(dropped(x, drop.key, drop.p) @ down.t())


def add_down_gradient(parameter: nn.Parameter, v: Tensor, x: Tensor, drop: KeyedDropout) -> None:
    """parameter.grad [r, I] += v^T dropped(x), with v [rows, r]."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    if _fast(x, v):
        from .dropped_kernels import add_down_gradient as kernel

        for strip in _strips(v.shape[1]):
            kernel(parameter.grad[strip], v[:, strip], x, drop.key, drop.p)
    else:
        parameter.grad.add_(v.t() @ dropped(x, drop.key, drop.p))


def add_back(dx: Tensor, vs: Sequence[Tensor], downs: Sequence[Tensor], drops: Sequence[KeyedDropout | None]) -> None:
    """dx [rows, I] += sum of dropped(v down) over the members of a group; the gradient goes where the input went."""
    if None not in drops and _fast(dx, *vs, *downs):
        from .dropped_kernels import add_back as kernel

        for strip in _strips(max(v.shape[1] for v in vs)):
            members = [(v[:, strip], down[strip], (drop.key, drop.p)) for v, down, drop in zip(vs, downs, drops, strict=True) if v.shape[1] > strip.start]
            kernel(dx, *zip(*members, strict=True))
        return
    for v, down, drop in zip(vs, downs, drops, strict=True):
        back = v @ down
        dx.add_(back if drop is None else dropped(back, drop.key, drop.p))
