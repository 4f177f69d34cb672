"""Products of adapters whose input has holes: dropout, without a copy of an input that has them.

What is left out is told by a value's place and a key (``train.dropout``), so backward finds it again by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..train.dropout import KeyedDropout, dropped
from . import ops


# Of one layer; beyond it a kernel's tile of all ranks has no place in shared memory beside the others.
_LARGEST_RANK = 128


def _fast(x: Tensor, rank: int, *others: Tensor) -> bool:
    # In 32 bits the kernels' products would have fewer digits than a matrix library's.
    return ops.fast(x) and rank <= _LARGEST_RANK and all(t.dtype == x.dtype and x.itemsize == 2 for t in (x, *others))


def times_down(x: Tensor, down: Tensor, drop: KeyedDropout | None, out: Tensor) -> None:
    """out [rows, r] = dropped(x) down^T, with x [rows, I] and down [r, I]."""
    if drop is None:
        torch.mm(x, down.t(), out=out)
    elif _fast(x, down.shape[0], down):
        from .dropped_kernels import times_down as kernel

        kernel(x, down, drop.key, drop.p, out)
    else:
        out.copy_(dropped(x, drop.key, drop.p) @ down.t())


def add_down_gradient(parameter: nn.Parameter, v: Tensor, x: Tensor, drop: KeyedDropout) -> None:
    """parameter.grad [r, I] += v^T dropped(x), with v [rows, r]."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    if _fast(x, v.shape[1], v):
        from .dropped_kernels import add_down_gradient as kernel

        kernel(parameter.grad, v, x, drop.key, drop.p)
    else:
        parameter.grad.add_(v.t() @ dropped(x, drop.key, drop.p))


def add_back(dx: Tensor, vs: Sequence[Tensor], downs: Sequence[Tensor], drops: Sequence[KeyedDropout | None]) -> None:
    """dx [rows, I] += sum of dropped(v down) over the members of a group; the gradient goes where the input went."""
    if None not in drops and _fast(dx, max(v.shape[1] for v in vs), *vs, *downs):
        from .dropped_kernels import add_back as kernel

        kernel(dx, vs, downs, [(drop.key, drop.p) for drop in drops])
        return
    for v, down, drop in zip(vs, downs, drops, strict=True):
        back = v @ down
        dx.add_(back if drop is None else dropped(back, drop.key, drop.p))
