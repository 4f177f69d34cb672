"""Products with packed matrices (see ``groups``), forward and backward."""

from __future__ import annotations

import torch
from torch import Tensor

from .groups import Adapters, GroupLayout


def room(rows: int, layout: GroupLayout, like: Tensor) -> tuple[Tensor, Tensor]:
    """([x u], its part x): a layer's input with a place for u beside it."""
    ext = like.new_empty(rows, layout.inner + layout.width)
    return ext, ext[:, : layout.inner]


def gradient_room(rows: int, layout: GroupLayout, like: Tensor) -> tuple[Tensor, Tensor]:
    """([dy v], its part dy)."""
    ext = like.new_empty(rows, layout.rows + layout.width)
    return ext, ext[:, : layout.rows]


def forward(matrix: Tensor, bias: Tensor | None, ext: Tensor, layout: GroupLayout) -> Tensor:
    """y [rows, O] of the input in ``ext``, whose u is filled in."""
    if layout.width:
        torch.mm(ext[:, : layout.inner], matrix[layout.rows :, : layout.inner].t(), out=ext[:, layout.inner :])
    weight = matrix[: layout.rows].t()
    return torch.mm(ext, weight) if bias is None else torch.addmm(bias, ext, weight)


def gradient_of(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def backward(matrix: Tensor, ext: Tensor, towards: Tensor, layout: GroupLayout, adapters: Adapters, wanted: bool = True) -> Tensor | None:
    """Adds the adapters' gradients to theirs; returns the one towards x [rows, I] where ``wanted``.

    Args:
        ext: [x u] of the forward product.
        towards: [dy v] with dy; v is filled in.
    """
    rows, inner = layout.rows, layout.inner
    if layout.width:
        torch.mm(towards[:, :rows], matrix[:rows, inner:], out=towards[:, rows:])
        down = torch.mm(towards[:, rows:].t(), ext[:, :inner])
        targets, found = [], []
        for member, own_rows, columns in layout.places():
            if member not in adapters:
                continue
            factors = adapters[member]
            targets.append(gradient_of(factors.down))
            found.append(down[columns])
            u = ext[:, inner + columns.start : inner + columns.stop]
            gradient_of(factors.up).addmm_(towards[:, own_rows].t(), u, alpha=factors.scale)
        if targets:
            torch._foreach_add_(targets, found)
    return torch.mm(towards, matrix[:, :inner]) if wanted else None
