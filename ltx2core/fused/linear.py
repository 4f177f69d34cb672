"""Products with packed matrices (see ``groups``), forward and backward."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .groups import Adapters, GroupLayout


def room(rows: int, layout: GroupLayout, like: Tensor) -> tuple[Tensor, Tensor]:
    """([x u], its part x): a layer's input with a place for u beside it."""
    ext = like.new_empty(rows, layout.inner + layout.width)
    return ext, ext[:, : layout.inner]


def gradient_room(rows: int, layout: GroupLayout, like: Tensor) -> tuple[Tensor, Tensor]:
    """([dy v], its part dy)."""
    ext = like.new_empty(rows, layout.rows + layout.width)
    return ext, ext[:, : layout.rows]


def fill_u(matrix: Tensor, ext: Tensor, layout: GroupLayout) -> None:
    """u = x A^T into its place beside x."""
    if layout.width:
        torch.mm(ext[:, : layout.inner], matrix[layout.rows :, : layout.inner].t(), out=ext[:, layout.inner :])


def forward(matrix: Tensor, bias: Tensor | None, ext: Tensor, layout: GroupLayout) -> Tensor:
    """y [rows, O] of the input in ``ext``, whose u is filled in."""
    fill_u(matrix, ext, layout)
    weight = matrix[: layout.rows].t()
    return torch.mm(ext, weight) if bias is None else torch.addmm(bias, ext, weight)


def forward_gelu(matrix: Tensor, bias: Tensor | None, ext: Tensor, layout: GroupLayout) -> Tensor:
    """gelu(y), its tanh form; on a card within the product where there is no adapter."""
    if ext.is_cuda and bias is not None and not layout.width:
        return torch._addmm_activation(bias, ext, matrix.t(), use_gelu=True)
    return F.gelu(forward(matrix, bias, ext, layout), approximate="tanh")


def _add_gradient(parameter: Tensor, left: Tensor, right: Tensor, factor: float = 1.0) -> None:
    """parameter.grad += factor * left right."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    if parameter.grad.dtype == left.dtype:
        parameter.grad.addmm_(left, right, alpha=factor)
    else:
        parameter.grad.add_(torch.mm(left, right), alpha=factor)


def backward(matrix: Tensor, ext: Tensor, towards: Tensor, layout: GroupLayout, adapters: Adapters, wanted: bool = True) -> Tensor | None:
    """Adds the adapters' gradients to theirs; returns the one towards x [rows, I] where ``wanted``.

    Args:
        ext: [x u] of the forward product.
        towards: [dy v] with dy; v is filled in.
    """
    rows, inner = layout.rows, layout.inner
    if layout.width:
        torch.mm(towards[:, :rows], matrix[:rows, inner:], out=towards[:, rows:])
        for member, own_rows, columns in layout.places():
            if member in adapters:
                factors = adapters[member]
                _add_gradient(factors.down, towards[:, rows + columns.start : rows + columns.stop].t(), ext[:, :inner])
                _add_gradient(factors.up, towards[:, own_rows].t(), ext[:, inner + columns.start : inner + columns.stop], factors.scale)
    return torch.mm(towards, matrix[:, :inner]) if wanted else None
