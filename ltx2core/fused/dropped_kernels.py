"""Triton forms of ``dropped``: a tile is read, its holes are found from its place, and it goes into the product.

Rows are cut where a product of a few ranks would not fill a card; what the cuts add up to is summed in one order, so that
results are the same on every run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..train.dropout import least

_PROGRAMS = 256  # about two for each multiprocessor of a large card
_SMALLEST = 16  # side of a tile that matrix units take


@triton.jit
def _kept(key, row, column, columns, least):
    """What ``train.dropout.kept`` says of the values at these places."""
    step, start = (tl.load(key) | 1).to(tl.uint32), tl.load(key + 1).to(tl.uint32)
    word = (row.to(tl.uint32) * columns.to(tl.uint32) + column.to(tl.uint32)) * step + start
    word = (word ^ (word >> 16)) * 0x85EBCA6B
    word = (word ^ (word >> 13)) * 0xC2B2AE35
    return (word ^ (word >> 16)).to(tl.int32, bitcast=True) >= least


@triton.jit
def _times_down(x, down, key, out, rows, inner, rank, least, factor, x_row, down_row, out_row,
                ROWS: tl.constexpr, RANK: tl.constexpr, STEP: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column, at = tl.arange(0, RANK), tl.arange(0, STEP)
    total = tl.zeros((ROWS, RANK), tl.float32)
    for start in range(0, inner, STEP):
        place = start + at
        left = tl.load(x + row[:, None] * x_row + place[None, :], (row < rows)[:, None] & (place < inner)[None, :], 0.0)
        left = tl.where(_kept(key, row[:, None], place[None, :], inner, least), left, 0.0)
        right = tl.load(down + column[None, :] * down_row + place[:, None], (place < inner)[:, None] & (column < rank)[None, :], 0.0)
        total = tl.dot(left, right, total)
    tl.store(out + row[:, None] * out_row + column[None, :], (total * factor).to(out.dtype.element_ty), (row < rows)[:, None] & (column < rank)[None, :])


@triton.jit
def _down_share(v, x, key, shares, rows, span, inner, rank, least, v_row, x_row, STEP: tl.constexpr, RANK: tl.constexpr, COLUMNS: tl.constexpr):
    tile, cut = tl.program_id(0), tl.program_id(1)
    column, c, at = tile * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, RANK), tl.arange(0, STEP)
    first = cut * span
    last = min(first + span, rows)
    total = tl.zeros((RANK, COLUMNS), tl.float32)
    for start in range(first, last, STEP):
        row = (start + at).to(tl.int64)
        right = tl.load(x + row[:, None] * x_row + column[None, :], (row < last)[:, None] & (column < inner)[None, :], 0.0)
        right = tl.where(_kept(key, row[:, None], column[None, :], inner, least), right, 0.0)
        left = tl.load(v + row[:, None] * v_row + c[None, :], (row < last)[:, None] & (c < rank)[None, :], 0.0)
        total = tl.dot(tl.trans(left), right, total)
    place = (cut * rank + c).to(tl.int64)[:, None] * inner + column[None, :]
    tl.store(shares + place, total, (c < rank)[:, None] & (column < inner)[None, :])


@triton.jit
def _add_shares(shares, gradient, count, cuts, factor, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    total = tl.zeros((BLOCK,), tl.float32)
    share = shares + at
    for _ in range(cuts):
        total += tl.load(share, inside, 0.0)
        share += count
    before = tl.load(gradient + at, inside, 0.0).to(tl.float32)
    tl.store(gradient + at, (before + total * factor).to(gradient.dtype.element_ty), inside)


@triton.jit
def _add_back(dx, v0, v1, v2, down0, down1, down2, key0, key1, key2, rows, inner, rank0, rank1, rank2, least, factor, dx_row, v_row, down_row,
              MEMBERS: tl.constexpr, ROWS: tl.constexpr, RANK: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column, c = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, RANK)
    inside = (row < rows)[:, None] & (column < inner)[None, :]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for member in tl.static_range(MEMBERS):
        v, down, key, rank = v0, down0, key0, rank0
        if member == 1:
            v, down, key, rank = v1, down1, key1, rank1
        if member == 2:
            v, down, key, rank = v2, down2, key2, rank2
        left = tl.load(v + row[:, None] * v_row + c[None, :], (row < rows)[:, None] & (c < rank)[None, :], 0.0)
        right = tl.load(down + c[:, None] * down_row + column[None, :], (c < rank)[:, None] & (column < inner)[None, :], 0.0)
        total += tl.where(_kept(key, row[:, None], column[None, :], inner, least), tl.dot(left, right), 0.0)
    target = dx + row[:, None] * dx_row + column[None, :]
    tl.store(target, (tl.load(target, inside, 0.0).to(tl.float32) + total * factor).to(dx.dtype.element_ty), inside)


def _tile(rank: int) -> int:
    return max(_SMALLEST, triton.next_power_of_2(rank))


def _stages(rank: int) -> int:
    """Tiles under way, so that a program takes at most 64 KiB of shared memory, which cards of all makers have."""
    return 4 if rank <= 64 else 3


def times_down(x: Tensor, down: Tensor, key: Tensor, p: float, out: Tensor) -> None:
    rows, inner = x.shape
    rank = down.shape[0]
    _times_down[(triton.cdiv(rows, 64),)](
        x, down, key, out, rows, inner, rank, least(p), 1 / (1 - p), x.stride(0), down.stride(0), out.stride(0), 64, _tile(rank), 64 if rank <= 64 else 32, num_warps=4,
        num_stages=_stages(rank),
    )  # fmt: skip


def add_down_gradient(gradient: Tensor, v: Tensor, x: Tensor, key: Tensor, p: float) -> None:
    rows, inner = x.shape
    rank, step, columns = v.shape[1], 32, 128
    if gradient.shape != (rank, inner):
        raise ValueError("a gradient of another size")  # the kernel goes by its count of numbers
    tiles = triton.cdiv(inner, columns)
    span = triton.cdiv(triton.cdiv(rows, triton.cdiv(_PROGRAMS, tiles)), step) * step
    cuts = triton.cdiv(rows, span)
    shares = torch.empty(cuts, rank, inner, dtype=torch.float32, device=x.device)
    _down_share[(tiles, cuts)](
        v, x, key, shares, rows, span, inner, rank, least(p), v.stride(0), x.stride(0), step, _tile(rank), columns,
        num_warps=4 if rank <= 64 else 8, num_stages=_stages(rank),
    )  # fmt: skip
    _add_shares[(triton.cdiv(gradient.numel(), 1024),)](shares, gradient, gradient.numel(), cuts, 1 / (1 - p), 1024)


def add_back(dx: Tensor, vs: Sequence[Tensor], downs: Sequence[Tensor], drops: Sequence[tuple[Tensor, float]]) -> None:
    """All of one p, and rows of ``vs`` and of ``downs`` equally far apart, as an adapter's and a packed matrix's are."""
    rows, inner = dx.shape
    (p,), count = {p for _, p in drops}, len(vs)
    ranks = [v.shape[1] for v in vs]

    def three(of: Sequence) -> list:
        return [*of, *[of[0]] * (3 - count)]

    _add_back[(triton.cdiv(rows, 64), triton.cdiv(inner, 128))](
        dx, *three(vs), *three(downs), *three([key for key, _ in drops]), rows, inner, *three(ranks), least(p), 1 / (1 - p), dx.stride(0), vs[0].stride(0), downs[0].stride(0),
        count, 64, _tile(max(ranks)), 128, num_warps=8, num_stages=1,
    )  # fmt: skip
