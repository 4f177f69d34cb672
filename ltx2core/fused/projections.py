"""Queries, keys and values of one attention, and their gradients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from . import linear, ops
from .groups import GroupLayout
from .ops import Rope
from .weights import BlockWeights


@dataclass(frozen=True)
class Query:
    """ext: [x u]; raw: before norm and rotation (rows may lie apart); q: after them."""

    ext: Tensor
    raw: Tensor
    q: Tensor


@dataclass(frozen=True)
class KeyValue:
    ext: Tensor
    raw: Tensor
    k: Tensor
    v: Tensor


@dataclass(frozen=True)
class Projection:
    """The linears before one attention and its norms, under ``name``. eps: of the norms."""

    name: str
    eps: float

    def _normed(self, w: BlockWeights, which: str, raw: Tensor, rope: Rope | None) -> Tensor:
        return ops.norm_rope(raw, w[f"{self.name}.norm_{which}.weight"], rope, self.eps)

    def raw(self, w: BlockWeights, part: str, ext: Tensor, known: Tensor | None = None) -> Tensor:
        """What ``part`` ("qkv", "q" or "kv") makes of the input in ``ext``; where it is ``known``, only u is filled in."""
        group = f"{self.name}.{part}"
        layout = w.layouts[group]
        if known is not None and not layout.width:
            return known
        if known is not None:
            w.linear(group).fill_u(ext)
            return known
        return w.linear(group).forward(ext)

    def own(self, w: BlockWeights, ext: Tensor, raw: Tensor, rope: Rope) -> tuple[Query, KeyValue]:
        """All three of one input."""
        q, k, v = raw.split(w.layouts[f"{self.name}.qkv"].outs, 1)
        return Query(ext, q, self._normed(w, "q", q, rope)), KeyValue(ext, k, self._normed(w, "k", k, rope), v)

    def query(self, w: BlockWeights, ext: Tensor, rope: Rope | None) -> Query:
        q = self.raw(w, "q", ext)
        return Query(ext, q, self._normed(w, "q", q, rope))

    def key_value(self, w: BlockWeights, ext: Tensor, raw: Tensor, rope: Rope | None) -> KeyValue:
        k, v = raw.split(w.layouts[f"{self.name}.kv"].outs, 1)
        return KeyValue(ext, k, self._normed(w, "k", k, rope), v)

    def _through_norm(self, w: BlockWeights, which: str, raw: Tensor, rope: Rope | None, towards: Tensor, out: Tensor) -> None:
        ops.norm_rope_backward(raw, w[f"{self.name}.norm_{which}.weight"], rope, self.eps, towards, out)

    def own_backward(self, w: BlockWeights, query: Query, kv: KeyValue, rope: Rope, dq: Tensor, dk: Tensor, dv: Tensor, wanted: bool = True) -> Tensor | None:
        group = f"{self.name}.qkv"
        layout = w.layouts[group]
        towards, parts = self._towards(query.ext, layout)
        self._through_norm(w, "q", query.raw, rope, dq, parts[0])
        self._through_norm(w, "k", kv.raw, rope, dk, parts[1])
        ops.copy(dv, parts[2])
        return w.linear(group).backward(query.ext, towards, wanted)

    def query_backward(self, w: BlockWeights, query: Query, rope: Rope | None, dq: Tensor) -> Tensor:
        group = f"{self.name}.q"
        layout = w.layouts[group]
        towards, parts = self._towards(query.ext, layout)
        self._through_norm(w, "q", query.raw, rope, dq, parts[0])
        return w.linear(group).backward(query.ext, towards)

    def key_value_backward(self, w: BlockWeights, kv: KeyValue, rope: Rope | None, dk: Tensor, dv: Tensor, wanted: bool = True) -> Tensor | None:
        """``wanted`` False: the input is frozen, only adapters learn."""
        group = f"{self.name}.kv"
        layout = w.layouts[group]
        if not wanted and not layout.width:
            return None
        towards, parts = self._towards(kv.ext, layout)
        self._through_norm(w, "k", kv.raw, rope, dk, parts[0])
        ops.copy(dv, parts[1])
        return w.linear(group).backward(kv.ext, towards, wanted)

    @staticmethod
    def _towards(ext: Tensor, layout: GroupLayout) -> tuple[Tensor, tuple[Tensor, ...]]:
        towards, dy = linear.gradient_room(ext.shape[0], layout, ext)
        return towards, dy.split(layout.outs, 1)
