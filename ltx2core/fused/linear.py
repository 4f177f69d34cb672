"""Products with packed matrices (see ``groups``), forward and backward."""

from __future__ import annotations

from collections.abc import Sequence

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


def _together(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """[n, *shape] on the memory of ``tensors`` where they lie at equal distances in one storage, as ``train.flat`` puts them."""
    first = tensors[0]
    if any(t is None or t.shape != first.shape or not t.is_contiguous() for t in tensors):
        return None
    step = tensors[1].data_ptr() - first.data_ptr()
    one = all(t.untyped_storage().data_ptr() == first.untyped_storage().data_ptr() and t.data_ptr() - first.data_ptr() == i * step for i, t in enumerate(tensors))
    if not one or step < first.nbytes:
        return None
    return first.as_strided((len(tensors), *first.shape), (step // first.itemsize, *first.stride()))


def _members_at_once(matrix: Tensor, ext: Tensor, towards: Tensor, layout: GroupLayout, adapters: Adapters) -> bool:
    """v and the adapters' gradients of members of one size, as three batched products instead of 2 n + 1 thin ones.

    The products are too thin to fill a card one by one. False, with nothing done, where the members differ.
    """
    factors, ranks = [adapters.get(m) for m in layout.members], set(layout.ranks)
    if len(factors) < 2 or None in factors or len(set(layout.outs)) > 1 or len(ranks) > 1 or layout.width != sum(layout.ranks) or len({f.scale for f in factors}) > 1:
        return False
    down, up = _together([f.down.grad for f in factors]), _together([f.up.grad for f in factors])
    if down is None or up is None or not down.dtype == up.dtype == towards.dtype:
        return False
    n, rows, inner, line = len(factors), layout.rows, layout.inner, matrix.stride(0)
    out, rank = layout.outs[0], layout.ranks[0]
    dy, v, u = (t.unflatten(1, (n, -1)).transpose(0, 1) for t in (towards[:, :rows], towards[:, rows:], ext[:, inner:]))
    # B's columns of a member are zero in the rows of others: its own blocks alone are read, [n, out, rank].
    b = matrix.as_strided((n, out, rank), (out * line + rank, line, 1), matrix.storage_offset() + inner)
    torch.bmm(dy, b, out=v)
    down.baddbmm_(v.transpose(1, 2), ext[:, :inner].expand(n, -1, -1))
    up.baddbmm_(dy.transpose(1, 2), u, alpha=factors[0].scale)
    return True


def backward(matrix: Tensor, ext: Tensor, towards: Tensor, layout: GroupLayout, adapters: Adapters, wanted: bool = True) -> Tensor | None:
    """Adds the adapters' gradients to theirs; returns the one towards x [rows, I] where ``wanted``.

    Args:
        ext: [x u] of the forward product.
        towards: [dy v] with dy; v is filled in.
    """
    rows, inner = layout.rows, layout.inner
    if layout.width and not _members_at_once(matrix, ext, towards, layout, adapters):
        torch.mm(towards[:, :rows], matrix[:rows, inner:], out=towards[:, rows:])
        for member, own_rows, columns in layout.places():
            if member in adapters:
                factors = adapters[member]
                _add_gradient(factors.down, towards[:, rows + columns.start : rows + columns.stop].t(), ext[:, :inner])
                _add_gradient(factors.up, towards[:, own_rows].t(), ext[:, inner + columns.start : inner + columns.stop], factors.scale)
    return torch.mm(towards, matrix[:, :inner]) if wanted else None
