"""AdamW with stochastic rounding as one Triton kernel: each number is read and written once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 2048


@triton.jit
def _rounded(value, bits):
    """Float32 to bfloat16 by 16 random bits; the mean is exact."""
    return ((value.to(tl.int32, bitcast=True) + (bits.to(tl.int32, bitcast=True) & 0xFFFF)) & -65536).to(tl.float32, bitcast=True)


@triton.jit
def _adamw(values, gradients, mean, square, factor, rate, mean_scale, square_scale, seed, count, beta1, beta2, epsilon, decay, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    g = tl.load(gradients + at, inside, 0.0).to(tl.float32) * tl.load(factor)
    m = tl.load(mean + at, inside, 0.0).to(tl.float32)
    v = tl.load(square + at, inside, 0.0).to(tl.float32)
    m += (g - m) * (1 - beta1)
    v += (g * g - v) * (1 - beta2)
    change = (m / tl.load(mean_scale)) / (tl.sqrt(v / tl.load(square_scale)) + epsilon)
    step = tl.load(rate)
    p = tl.load(values + at, inside, 0.0).to(tl.float32) * (1 - step * decay) - step * change
    first, second, third, _ = tl.randint4x(tl.load(seed).to(tl.int32), at.to(tl.uint32))
    tl.store(values + at, _rounded(p, first).to(tl.bfloat16), inside)
    tl.store(mean + at, _rounded(m, second).to(tl.bfloat16), inside)
    tl.store(square + at, _rounded(v, third).to(tl.bfloat16), inside)
    tl.store(gradients + at, tl.zeros_like(g).to(tl.bfloat16), inside)


def adamw(values: Tensor, gradients: Tensor, mean: Tensor, square: Tensor, factor: Tensor, rate: Tensor, scales: tuple[Tensor, Tensor],
          betas: tuple[float, float], epsilon: float, decay: float) -> None:  # fmt: skip
    """One step on flat bf16 tensors [total], in place; ``gradients`` are zeroed. Single numbers are float32 tensors []."""
    seed = torch.randint(2**31 - 1, (1,), device=values.device)
    grid = (triton.cdiv(values.numel(), _BLOCK),)
    _adamw[grid](values, gradients, mean, square, factor, rate, *scales, seed, values.numel(), *betas, epsilon, decay, _BLOCK, num_warps=8)
