"""Products with packed matrices (see ``groups``), forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from . import dropped
from .groups import Adapters, Factors, GroupLayout


def room(rows: int, layout: GroupLayout, like: Tensor) -> tuple[Tensor, Tensor]:
    """([x u], its part x): a layer's input with a place for u beside it."""
    ext = like.new_empty(rows, layout.inner + layout.width)
    return ext, ext[:, : layout.inner]


def gradient_room(rows: int, layout: GroupLayout, like: Tensor) -> tuple[Tensor, Tensor]:
    """([dy v], its part dy)."""
    ext = like.new_empty(rows, layout.rows + layout.width)
    return ext, ext[:, : layout.rows]


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


@dataclass(frozen=True)
class PackedLinear:
    """One group of one block. ext: [x u], an input with room for u, or filled in. towards: [dy v], the same of a gradient."""

    matrix: Tensor
    bias: Tensor | None
    layout: GroupLayout
    adapters: Adapters

    def _of_members(self) -> list[tuple[Factors, slice, slice]]:
        """Of each member with an adapter: it, the member's rows of W, and its columns of u and v."""
        return [(self.adapters[m], rows, columns) for m, rows, columns in self.layout.places() if m in self.adapters]

    def _drops(self) -> bool:
        return any((factors := self.adapters.get(member)) is not None and factors.drop is not None for member in self.layout.members)

    def _down(self, columns: slice) -> Tensor:
        """A of the member with these ``columns``, [r, I]."""
        return self.matrix[self.layout.rows :, : self.layout.inner][columns]

    def fill_u(self, ext: Tensor) -> None:
        """u = x A^T into its place beside x; of an x with holes where an adapter has dropout."""
        layout = self.layout
        if not layout.width:
            return
        x, u = ext[:, : layout.inner], ext[:, layout.inner :]
        if not self._drops():
            torch.mm(x, self._down(slice(None)).t(), out=u)
            return
        if sum(columns.stop - columns.start for _, _, columns in self._of_members()) < layout.width:
            u.zero_()  # what no member fills
        for factors, _, columns in self._of_members():
            dropped.times_down(x, self._down(columns), factors.drop, u[:, columns])

    def forward(self, ext: Tensor) -> Tensor:
        """y [rows, O]; u is filled in."""
        self.fill_u(ext)
        weight = self.matrix[: self.layout.rows].t()
        return torch.mm(ext, weight) if self.bias is None else torch.addmm(self.bias, ext, weight)

    def forward_gelu(self, ext: Tensor) -> Tensor:
        """gelu(y), its tanh form; on a card within the product where there is no adapter."""
        if ext.is_cuda and self.bias is not None and not self.layout.width:
            return torch._addmm_activation(self.bias, ext, self.matrix.t(), use_gelu=True)
        return F.gelu(self.forward(ext), approximate="tanh")

    def _members_at_once(self, ext: Tensor, towards: Tensor) -> bool:
        """v and the adapters' gradients of members of one size, as three batched products instead of 2 n + 1 thin ones.

        The products are too thin to fill a card one by one. False, with nothing done, where the members differ.
        """
        layout, matrix = self.layout, self.matrix
        factors, ranks = [self.adapters.get(m) for m in layout.members], set(layout.ranks)
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

    def _one_by_one(self, ext: Tensor, towards: Tensor) -> None:
        rows, inner = self.layout.rows, self.layout.inner
        x, u, v = ext[:, :inner], ext[:, inner:], towards[:, rows:]
        torch.mm(towards[:, :rows], self.matrix[:rows, inner:], out=v)
        for factors, own_rows, columns in self._of_members():
            if factors.drop is None:
                _add_gradient(factors.down, v[:, columns].t(), x)
            else:
                dropped.add_down_gradient(factors.down, v[:, columns], x, factors.drop)
            _add_gradient(factors.up, towards[:, own_rows].t(), u[:, columns], factors.scale)

    def backward(self, ext: Tensor, towards: Tensor, wanted: bool = True) -> Tensor | None:
        """Adds the adapters' gradients to theirs; returns the one towards x [rows, I] where ``wanted``. v is filled in."""
        rows, inner, drops = self.layout.rows, self.layout.inner, self._drops()
        if self.layout.width and (drops or not self._members_at_once(ext, towards)):
            self._one_by_one(ext, towards)
        if not wanted:
            return None
        if not drops:
            return torch.mm(towards, self.matrix[:, :inner])
        dx = torch.mm(towards[:, :rows], self.matrix[:rows, :inner])
        members = self._of_members()
        dropped.add_back(dx, [towards[:, rows:][:, c] for _, _, c in members], [self._down(c) for _, _, c in members], [f.drop for f, _, _ in members])
        return dx
