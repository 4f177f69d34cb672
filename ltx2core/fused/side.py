"""One modality's own part of a block: self attention, attention to the text, feed-forward net."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from . import linear, ops
from .attention import Attended, Heads, attend, attend_for_later
from .modulation import Side, rows_of
from .projections import KeyValue, Projection, Query
from .weights import BlockWeights

# Order in a block's table and in a step's modulation: shift, scale, gate of self attention, then of the feed-forward net.
_SHIFT, _SCALE, _GATE, _FF_SHIFT, _FF_SCALE, _FF_GATE = range(6)


@dataclass
class Attention:
    """What one attention keeps for backward."""

    query: Query
    kv: KeyValue
    core: Attended
    out: Tensor  # [x u] of the output layer


@dataclass(frozen=True)
class SideSpec:
    """prefix: "" for the picture, "audio_" for the sound."""

    prefix: str
    heads: int
    eps: float

    @property
    def table(self) -> str:
        return f"{self.prefix}scale_shift_table"

    def projection(self, which: str) -> Projection:
        return Projection(self.prefix + which, self.eps)


def normed(h: Tensor, w: BlockWeights, group: str, scale: Tensor | None, shift: Tensor | None, index: Tensor, eps: float) -> Tensor:
    """[x u] of ``group`` with x = rmsnorm(h) * (1 + scale) + shift."""
    ext, x = linear.room(h.shape[0], w.layouts[group], h)
    ops.norm_modulate(h, scale, shift, index, eps, x)
    return ext


def with_room(x: Tensor, w: BlockWeights, group: str) -> Tensor:
    """[x u]; x itself where no adapter needs room."""
    if not w.layouts[group].width:
        return x
    ext, place = linear.room(x.shape[0], w.layouts[group], x)
    ops.copy(x, place)
    return ext


@dataclass
class Stored:
    """Results that wait for backward. wanted: which, of "inner", "attention", "text" and "qkv"; those that are not there are
    computed again. attention: of self attention. text: keys and values of the text before their norm; qkv: the same of self
    attention; inner: of the feed-forward net.
    """

    wanted: frozenset[str]
    attention: tuple | None = None
    inner: Tensor | None = None
    text: Tensor | None = None
    qkv: Tensor | None = None


def attend_out(w: BlockWeights, name: str, query: Query, kv: KeyValue, heads: Heads, keep: bool, stored: Stored | None = None) -> tuple[Tensor, Attention | None]:
    """The attention and its output layer. ``stored`` is filled in where nothing is kept, and used where all is."""
    core = Attended(query.q, kv.k, kv.v, heads, stored.attention if stored else None) if keep else None
    if core:
        found = core.out
    elif stored and "attention" in stored.wanted:
        found, stored.attention = attend_for_later(query.q, kv.k, kv.v, heads)
    else:
        found = attend(query.q, kv.k, kv.v, heads)
    ext = with_room(found, w, f"{name}.out")
    y = w.linear(f"{name}.out").forward(ext)
    return y, Attention(query, kv, core, ext) if core else None


def attend_out_backward(w: BlockWeights, name: str, kept: Attention, g: Tensor, gate: Tensor | None, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Towards q, k and v, given the gradient towards h + y * gate."""
    group = f"{name}.out"
    layout = w.layouts[group]
    towards, dy = linear.gradient_room(g.shape[0], layout, g)
    ops.gated(g, gate, index, dy)
    return kept.core.gradients(w.linear(group).backward(kept.out, towards))


@dataclass
class Own:
    """Kept of both attentions: the states before each, and theirs."""

    rows: Tensor
    before: Tensor
    first: Attention | None
    between: Tensor
    second: Attention | None


def own_forward(spec: SideSpec, w: BlockWeights, side: Side, batch: int, h: Tensor, keep: bool, stored: Stored | None = None) -> tuple[Tensor, Own]:
    """Self attention, then attention to the text."""
    rows, index, heads = rows_of(w[spec.table], side.step), side.index(side.step), Heads(batch, spec.heads)
    first, second = spec.projection("attn1"), spec.projection("attn2")
    ext = normed(h, w, f"{first.name}.qkv", rows[:, _SCALE], rows[:, _SHIFT], index, spec.eps)
    raw = first.raw(w, "qkv", ext, stored.qkv if stored else None)
    query, kv = first.own(w, ext, raw, side.own)
    y, kept_first = attend_out(w, first.name, query, kv, heads, keep, stored)
    between = ops.gated_add(h, y, rows[:, _GATE], index)
    query = second.query(w, normed(between, w, f"{second.name}.q", None, None, index, spec.eps), None)
    ext = with_room(side.text, w, f"{second.name}.kv")
    text = second.raw(w, "kv", ext, stored.text if stored else None)
    kv = second.key_value(w, ext, text, None)
    if stored and not keep:
        stored.qkv, stored.text = (t if n in stored.wanted else None for n, t in (("qkv", raw), ("text", text)))
    y, kept_second = attend_out(w, second.name, query, kv, heads, keep)
    return ops.gated_add(between, y, None, index), Own(rows, h, kept_first, between, kept_second)


def own_backward(spec: SideSpec, w: BlockWeights, side: Side, kept: Own, g: Tensor, wanted: bool = True) -> None:
    """``g`` towards the result becomes the gradient towards the input, in place; not ``wanted``, only adapters get theirs."""
    index = side.index(side.step)
    first, second = spec.projection("attn1"), spec.projection("attn2")
    dq, dk, dv = attend_out_backward(w, second.name, kept.second, g, None, index)
    second.key_value_backward(w, kept.second.kv, None, dk, dv, wanted=False)
    ops.norm_modulate_backward(kept.between, None, index, spec.eps, second.query_backward(w, kept.second.query, None, dq), g)
    dq, dk, dv = attend_out_backward(w, first.name, kept.first, g, kept.rows[:, _GATE], index)
    dx = first.own_backward(w, kept.first.query, kept.first.kv, side.own, dq, dk, dv, wanted)
    if wanted:
        ops.norm_modulate_backward(kept.before, kept.rows[:, _SCALE], index, spec.eps, dx, g)


@dataclass
class FeedForward:
    """Kept of the feed-forward net: the state before it, [x u] and the inner values before gelu; [gelu u] with an adapter there."""

    rows: Tensor
    before: Tensor
    ext: Tensor | None
    inner: Tensor | None
    out: Tensor | None


def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def feed_forward(spec: SideSpec, w: BlockWeights, side: Side, h: Tensor, rows: Tensor, stored: Stored | None = None) -> Tensor:
    group, last = f"{spec.prefix}ff.in", f"{spec.prefix}ff.out"
    index = side.index(side.step)
    ext = normed(h, w, group, rows[:, _FF_SCALE], rows[:, _FF_SHIFT], index, spec.eps)
    if stored is None or "inner" not in stored.wanted:
        inner = w.linear(group).forward_gelu(ext)
    else:
        stored.inner = w.linear(group).forward(ext)
        inner = _gelu(stored.inner)
    y = w.linear(last).forward(with_room(inner, w, last))
    return ops.gated_add(h, y, rows[:, _FF_GATE], index)


def feed_forward_again(spec: SideSpec, w: BlockWeights, side: Side, h: Tensor, rows: Tensor, stored: Stored | None = None) -> FeedForward:
    """What backward needs, without the last product: no gradient depends on its result."""
    group, last = f"{spec.prefix}ff.in", f"{spec.prefix}ff.out"
    if stored is not None and stored.inner is not None and not w.layouts[group].width:
        ext = inner = stored.inner  # without an adapter nothing reads the input again
    else:
        ext = normed(h, w, group, rows[:, _FF_SCALE], rows[:, _FF_SHIFT], side.index(side.step), spec.eps)
        inner = w.linear(group).forward(ext)
    out = None
    if w.layouts[last].width:
        out = with_room(_gelu(inner), w, last)
        w.linear(last).fill_u(out)
    return FeedForward(rows, h, ext, inner, out)


def feed_forward_end(spec: SideSpec, w: BlockWeights, side: Side, kept: FeedForward) -> Tensor:
    """The state after the net."""
    last = f"{spec.prefix}ff.out"
    y = w.linear(last).forward(kept.out if kept.out is not None else _gelu(kept.inner))
    return ops.gated_add(kept.before, y, kept.rows[:, _FF_GATE], side.index(side.step))


def feed_forward_backward(spec: SideSpec, w: BlockWeights, side: Side, kept: FeedForward, g: Tensor) -> Tensor:
    """As ``own_backward``; ``g`` itself is left as it was."""
    group, last = f"{spec.prefix}ff.in", f"{spec.prefix}ff.out"
    index, layout = side.index(side.step), w.layouts[last]
    towards, dy = linear.gradient_room(g.shape[0], layout, g)
    ops.gated(g, kept.rows[:, _FF_GATE], index, dy)
    # Without an adapter there only the sizes of [gelu u] would be read.
    inward = w.linear(last).backward(kept.inner if kept.out is None else kept.out, towards)
    torch.ops.aten.gelu_backward.grad_input(inward, kept.inner, approximate="tanh", grad_input=inward)
    layout, ext, kept.out = w.layouts[group], kept.ext, None
    kept.inner = kept.ext = None
    if layout.width:
        towards, dy = linear.gradient_room(g.shape[0], layout, g)
        ops.copy(inward, dy)
    else:
        towards, ext = inward, inward  # nothing reads the input again
    del inward
    dx = w.linear(group).backward(ext, towards)
    found = torch.empty_like(g)  # autograd may still hold what it gave
    ops.norm_modulate_backward(kept.before, kept.rows[:, _FF_SCALE], index, spec.eps, dx, g, found)
    return found
