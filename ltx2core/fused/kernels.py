"""Triton forms of ``ops``: one program a row, everything of a row in registers, each number read and written once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def _warps(columns: int) -> int:
    return 8 if columns >= 2048 else 4


@triton.jit
def _norm_modulate(h, scale, shift, index, out, columns, eps, h_row, mod_row, out_row, MODULATED: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < columns
    x = tl.load(h + row * h_row + at, inside, 0.0).to(tl.float32)
    x = x * tl.rsqrt(tl.sum(x * x, 0) / columns + eps)
    if MODULATED:
        mod = tl.load(index + row).to(tl.int64) * mod_row
        x = x * (1 + tl.load(scale + mod + at, inside, 0.0).to(tl.float32)) + tl.load(shift + mod + at, inside, 0.0).to(tl.float32)
    tl.store(out + row * out_row + at, x.to(out.dtype.element_ty), inside)


def norm_modulate(h: Tensor, scale: Tensor | None, shift: Tensor | None, index: Tensor, eps: float, out: Tensor) -> None:
    rows, columns = h.shape
    s, t = (h, h) if scale is None else (scale, shift)
    _norm_modulate[(rows,)](
        h, s, t, index, out, columns, eps, h.stride(0), s.stride(0), out.stride(0), scale is not None, triton.next_power_of_2(columns), num_warps=_warps(columns)
    )  # fmt: skip


@triton.jit
def _norm_modulate_backward(h, scale, index, towards, into, out, columns, eps, h_row, mod_row, towards_row, into_row, out_row,
                            MODULATED: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < columns
    x = tl.load(h + row * h_row + at, inside, 0.0).to(tl.float32)
    g = tl.load(towards + row * towards_row + at, inside, 0.0).to(tl.float32)
    if MODULATED:
        mod = tl.load(index + row).to(tl.int64) * mod_row
        g = g * (1 + tl.load(scale + mod + at, inside, 0.0).to(tl.float32))
    r = tl.rsqrt(tl.sum(x * x, 0) / columns + eps)
    change = r * (g - x * r * r * (tl.sum(g * x, 0) / columns))
    before = tl.load(into + row * into_row + at, inside, 0.0).to(tl.float32)
    tl.store(out + row * out_row + at, (before + change).to(out.dtype.element_ty), inside)


def norm_modulate_backward(h: Tensor, scale: Tensor | None, index: Tensor, eps: float, towards: Tensor, into: Tensor, out: Tensor) -> None:
    rows, columns = h.shape
    s = h if scale is None else scale
    _norm_modulate_backward[(rows,)](
        h, s, index, towards, into, out, columns, eps, h.stride(0), s.stride(0), towards.stride(0), into.stride(0), out.stride(0), scale is not None,
        triton.next_power_of_2(columns), num_warps=_warps(columns),
    )  # fmt: skip


@triton.jit
def _norm_rope(x, weight, cos, sin, out, heads, tokens, half, eps, x_row, out_row, rope_sample, rope_head, rope_token,
               TURNED: tl.constexpr, HEADS: tl.constexpr, HALF: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head, at = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (at < half)
    place = head * (2 * half) + at
    first = tl.load(x + row * x_row + place, inside, 0.0).to(tl.float32)
    second = tl.load(x + row * x_row + place + half, inside, 0.0).to(tl.float32)
    r = tl.rsqrt(tl.sum(tl.sum(first * first + second * second, 1), 0) / (2 * heads * half) + eps)
    first = first * r * tl.load(weight + place, inside, 0.0).to(tl.float32)
    second = second * r * tl.load(weight + place + half, inside, 0.0).to(tl.float32)
    if TURNED:
        angle = (row // tokens) * rope_sample + (row % tokens) * rope_token + head * rope_head + at
        c, s = tl.load(cos + angle, inside, 0.0).to(tl.float32), tl.load(sin + angle, inside, 0.0).to(tl.float32)
        first, second = first * c - second * s, second * c + first * s
    tl.store(out + row * out_row + place, first.to(out.dtype.element_ty), inside)
    tl.store(out + row * out_row + place + half, second.to(out.dtype.element_ty), inside)


@triton.jit
def _norm_rope_backward(x, weight, cos, sin, towards, out, heads, tokens, half, eps, x_row, towards_row, out_row, rope_sample, rope_head, rope_token,
                        TURNED: tl.constexpr, HEADS: tl.constexpr, HALF: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head, at = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (at < half)
    place = head * (2 * half) + at
    first = tl.load(x + row * x_row + place, inside, 0.0).to(tl.float32)
    second = tl.load(x + row * x_row + place + half, inside, 0.0).to(tl.float32)
    to_first = tl.load(towards + row * towards_row + place, inside, 0.0).to(tl.float32)
    to_second = tl.load(towards + row * towards_row + place + half, inside, 0.0).to(tl.float32)
    if TURNED:
        angle = (row // tokens) * rope_sample + (row % tokens) * rope_token + head * rope_head + at
        c, s = tl.load(cos + angle, inside, 0.0).to(tl.float32), tl.load(sin + angle, inside, 0.0).to(tl.float32)
        to_first, to_second = to_first * c + to_second * s, to_second * c - to_first * s
    to_first *= tl.load(weight + place, inside, 0.0).to(tl.float32)
    to_second *= tl.load(weight + place + half, inside, 0.0).to(tl.float32)
    count = 2 * heads * half
    r = tl.rsqrt(tl.sum(tl.sum(first * first + second * second, 1), 0) / count + eps)
    along = r * r * (tl.sum(tl.sum(to_first * first + to_second * second, 1), 0) / count)
    tl.store(out + row * out_row + place, (r * (to_first - first * along)).to(out.dtype.element_ty), inside)
    tl.store(out + row * out_row + place + half, (r * (to_second - second * along)).to(out.dtype.element_ty), inside)


def _rope_numbers(x: Tensor, rope) -> tuple:
    """(cos, sin, heads, tokens, half, strides of sample, head and token, whether to turn)."""
    if rope is None:
        return x, x, 1, 1, x.shape[1] // 2, 0, 0, 0, False
    cos, sin = rope
    _, heads, tokens, half = cos.shape
    if cos.stride(3) != 1 or cos.stride() != sin.stride():
        cos, sin = cos.contiguous(), sin.contiguous()
    return cos, sin, heads, tokens, half, cos.stride(0) if cos.shape[0] > 1 else 0, cos.stride(1), cos.stride(2), True


def norm_rope(x: Tensor, weight: Tensor, rope, eps: float) -> Tensor:
    cos, sin, heads, tokens, half, sample, head, token, turned = _rope_numbers(x, rope)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _norm_rope[(x.shape[0],)](
        x, weight, cos, sin, out, heads, tokens, half, eps, x.stride(0), out.stride(0), sample, head, token,
        turned, triton.next_power_of_2(heads), triton.next_power_of_2(half), num_warps=_warps(x.shape[1]),
    )  # fmt: skip
    return out


def norm_rope_backward(x: Tensor, weight: Tensor, rope, eps: float, towards: Tensor, out: Tensor) -> None:
    cos, sin, heads, tokens, half, sample, head, token, turned = _rope_numbers(x, rope)
    _norm_rope_backward[(x.shape[0],)](
        x, weight, cos, sin, towards, out, heads, tokens, half, eps, x.stride(0), towards.stride(0), out.stride(0), sample, head, token,
        turned, triton.next_power_of_2(heads), triton.next_power_of_2(half), num_warps=_warps(x.shape[1]),
    )  # fmt: skip


@triton.jit
def _gated(h, y, gate, index, out, columns, h_row, y_row, gate_row, out_row, ADDED: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < columns
    value = tl.load(y + row * y_row + at, inside, 0.0).to(tl.float32)
    value *= tl.load(gate + tl.load(index + row).to(tl.int64) * gate_row + at, inside, 0.0).to(tl.float32)
    if ADDED:
        value += tl.load(h + row * h_row + at, inside, 0.0).to(tl.float32)
    tl.store(out + row * out_row + at, value.to(out.dtype.element_ty), inside)


def gated_add(h: Tensor, y: Tensor, gate: Tensor, index: Tensor) -> Tensor:
    rows, columns = h.shape
    _gated[(rows,)](
        h, y, gate, index, y, columns, h.stride(0), y.stride(0), gate.stride(0), y.stride(0), True, triton.next_power_of_2(columns), num_warps=_warps(columns)
    )  # fmt: skip
    return y


def gated(g: Tensor, gate: Tensor, index: Tensor, out: Tensor) -> None:
    rows, columns = g.shape
    _gated[(rows,)](
        g, g, gate, index, out, columns, g.stride(0), g.stride(0), gate.stride(0), out.stride(0), False, triton.next_power_of_2(columns), num_warps=_warps(columns)
    )  # fmt: skip


@triton.jit
def _copy(x, out, columns, x_row, out_row, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < columns
    tl.store(out + row * out_row + at, tl.load(x + row * x_row + at, inside).to(out.dtype.element_ty), inside)


def copy(x: Tensor, out: Tensor) -> None:
    rows, columns = x.shape
    block = min(4096, triton.next_power_of_2(columns))
    _copy[(rows, triton.cdiv(columns, block))](x, out, columns, x.stride(0), out.stride(0), block, num_warps=8)


@triton.jit
def _fill(matrix, values, scale, a0, a1, a2, b0, b1, b2, end0, end1, rows, inner, width, r0, r1, r2, s0, s1, s2, matrix_row, values_row,
          FORMED: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    at = tile * BLOCK + tl.arange(0, BLOCK)
    inside = at < inner
    target = matrix + row * matrix_row
    if row < rows:
        if FORMED:
            weight = tl.load(values + row * values_row + at, inside).to(tl.float32) * tl.load(scale + row).to(tl.float32)
            tl.store(target + at, weight.to(matrix.dtype.element_ty), inside)
        if tile == 0:
            c = tl.arange(0, WIDTH)
            here = row + tl.zeros_like(c)
            strip = tl.load(b0 + row * r0 + c, (here < end0) & (c < r0), 0.0).to(tl.float32) * s0
            strip += tl.load(b1 + (row - end0) * r1 + c - r0, (here >= end0) & (here < end1) & (c >= r0) & (c < r0 + r1), 0.0).to(tl.float32) * s1
            strip += tl.load(b2 + (row - end1) * r2 + c - r0 - r1, (here >= end1) & (c >= r0 + r1) & (c < r0 + r1 + r2), 0.0).to(tl.float32) * s2
            tl.store(target + inner + c, strip.to(matrix.dtype.element_ty), c < width)
    else:
        k = row - rows + tl.zeros_like(at)
        value = tl.load(a0 + k * inner + at, inside & (k < r0), 0.0).to(tl.float32)
        value += tl.load(a1 + (k - r0) * inner + at, inside & (k >= r0) & (k < r0 + r1), 0.0).to(tl.float32)
        value += tl.load(a2 + (k - r0 - r1) * inner + at, inside & (k >= r0 + r1) & (k < r0 + r1 + r2), 0.0).to(tl.float32)
        tl.store(target + at, value.to(matrix.dtype.element_ty), inside)


def fill(matrix: Tensor, layout, factors, values: Tensor | None, scale: Tensor | None) -> None:
    """``factors``: of each of up to three members, (A, B, scale) or None."""
    three = [*factors, None, None, None][:3]
    ranks = [*layout.ranks, 0, 0, 0][:3]
    downs, ups, scales = ([matrix if f is None else f.down for f in three], [matrix if f is None else f.up for f in three], [0.0 if f is None else f.scale for f in three])
    own = [0 if f is None else r for f, r in zip(three, ranks, strict=True)]
    if own != ranks:
        raise ValueError("a member without its adapter")  # layouts and adapters are made together
    ends = [layout.outs[0], sum(layout.outs[:2]) if len(layout.outs) > 1 else layout.rows]
    formed = values is not None
    v, s = (values, scale) if formed else (matrix, matrix)
    block = min(4096, triton.next_power_of_2(layout.inner))
    _fill[(layout.rows + layout.width, triton.cdiv(layout.inner, block))](
        matrix, v, s, *downs, *ups, *ends, layout.rows, layout.inner, layout.width, *ranks, *scales, matrix.stride(0), v.stride(0),
        formed, max(1, triton.next_power_of_2(layout.width)), block, num_warps=4,
    )  # fmt: skip
