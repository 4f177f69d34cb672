"""The steps of a block between its matrix products: each in plain torch, and as one Triton kernel on a card that has it.

All tensors are [rows, columns], a row being a token of a sample; ``index`` [rows] says which row of a modulation belongs to
it. Arithmetic is in float32 at least, results in the targets' dtype.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ..memory.quantize import scaled
from .groups import Adapters, GroupLayout

Rope = tuple[Tensor, Tensor]  # cos and sin [B, H, N, head / 2]


@cache
def _has_triton() -> bool:
    from torch.utils._triton import has_triton

    return has_triton()


def fast(tensor: Tensor) -> bool:
    """Whether the Triton forms run."""
    return tensor.is_cuda and tensor.dtype != torch.float64 and _has_triton()


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def norm_modulate(h: Tensor, scale: Tensor | None, shift: Tensor | None, index: Tensor, eps: float, out: Tensor) -> None:
    """out = rmsnorm(h) * (1 + scale) + shift; without scale the norm alone."""
    if fast(h):
        from .kernels import norm_modulate as kernel

        return kernel(h, scale, shift, index, eps, out)
    x = _wide(h)
    x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    out.copy_(x if scale is None else x * (1 + _wide(scale)[index]) + _wide(shift)[index])


def norm_modulate_backward(h: Tensor, scale: Tensor | None, index: Tensor, eps: float, towards: Tensor, into: Tensor, out: Tensor | None = None) -> None:
    """Add the gradient towards ``h`` to ``into``, given the one towards the result; with ``out`` the sum goes there and ``into`` stays."""
    out = into if out is None else out
    if fast(h):
        from .kernels import norm_modulate_backward as kernel

        return kernel(h, scale, index, eps, towards, into, out)
    x, g = _wide(h), _wide(towards)
    g = g if scale is None else g * (1 + _wide(scale)[index])
    r = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    out.copy_(_wide(into) + r * (g - x * r.square() * (g * x).mean(-1, keepdim=True)))


def _rotated(x: Tensor, rope: Rope, back: bool) -> Tensor:
    """Both halves of each head turned by the angle of the token (split layout); by its negative with ``back``."""
    cos, sin = (t.transpose(1, 2).to(x.dtype) for t in rope)
    batch, tokens, heads, half = cos.shape
    first, second = x.view(batch, tokens, heads, 2, half).unbind(3)
    sin = -sin if back else sin
    return torch.stack((first * cos - second * sin, second * cos + first * sin), 3).reshape(x.shape)


def norm_rope(x: Tensor, weight: Tensor, rope: Rope | None, eps: float) -> Tensor:
    """rope(rmsnorm(x) * weight), contiguous."""
    if fast(x):
        from .kernels import norm_rope as kernel

        return kernel(x, weight, rope, eps)
    y = _wide(x)
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps) * _wide(weight)
    return (y if rope is None else _rotated(y, rope, False)).to(x.dtype)


def norm_rope_backward(x: Tensor, weight: Tensor, rope: Rope | None, eps: float, towards: Tensor, out: Tensor) -> None:
    """The gradient towards ``x``."""
    if fast(x):
        from .kernels import norm_rope_backward as kernel

        return kernel(x, weight, rope, eps, towards, out)
    y, g = _wide(x), _wide(towards).contiguous()
    g = (g if rope is None else _rotated(g, rope, True)) * _wide(weight)
    r = torch.rsqrt(y.square().mean(-1, keepdim=True) + eps)
    out.copy_(r * (g - y * r.square() * (g * y).mean(-1, keepdim=True)))


def copy(x: Tensor, out: Tensor) -> None:
    """Rows that may lie apart, at the memory's full speed."""
    if fast(x) and x.stride(1) == out.stride(1) == 1:
        from .kernels import copy as kernel

        return kernel(x, out)
    out.copy_(x)


def gated_add(h: Tensor, y: Tensor, gate: Tensor | None, index: Tensor) -> Tensor:
    """h + y * gate; y is overwritten."""
    if gate is None:
        return y.add_(h)
    if fast(h):
        from .kernels import gated_add as kernel

        return kernel(h, y, gate, index)
    return y.copy_(_wide(h) + _wide(y) * _wide(gate)[index])


def gated(g: Tensor, gate: Tensor | None, index: Tensor, out: Tensor) -> None:
    """out = g * gate."""
    if gate is None:
        return copy(g, out)
    if fast(g):
        from .kernels import gated as kernel

        return kernel(g, gate, index, out)
    out.copy_(_wide(g) * _wide(gate)[index])


@torch.no_grad()
def fill(matrix: Tensor, layout: GroupLayout, adapters: Adapters, values: Tensor | None = None, scale: Tensor | None = None) -> None:
    """The adapters' present values into a packed matrix, and W = values * scale where ``values`` are given."""
    factors = [adapters.get(m) for m in layout.members]
    if fast(matrix) and all((0 if f is None else f.down.shape[0]) == r for f, r in zip(factors, layout.ranks, strict=True)):
        from .kernels import fill as kernel

        return kernel(matrix, layout, factors, values, scale)
    rows, inner = layout.rows, layout.inner
    if values is not None:
        matrix[:rows, :inner].copy_(scaled(values, scale, matrix.dtype))
    matrix[:rows, inner:].zero_()
    matrix[rows:].zero_()
    for (_, own, columns), factor in zip(layout.places(), factors, strict=True):
        if factor is not None:
            start, rank = columns.start, factor.down.shape[0]  # a block may have less than the largest rank
            matrix[rows + start : rows + start + rank, :inner].copy_(factor.down)
            matrix[own, inner + start : inner + start + rank].copy_(factor.up * factor.scale)
