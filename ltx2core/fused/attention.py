"""Scaled dot product attention with its gradient at hand, on rows of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_aten = torch.ops.aten


@dataclass(frozen=True)
class Heads:
    """Of one attention: samples in the batch and heads; a row holds all heads of a token."""

    batch: int
    count: int

    def split(self, rows: Tensor) -> Tensor:
        """[B*N, H*D] -> [B, H, N, D], a view."""
        return rows.unflatten(0, (self.batch, -1)).unflatten(2, (self.count, -1)).transpose(1, 2)

    @staticmethod
    def join(heads: Tensor) -> Tensor:
        """[B, H, N, D] -> [B*N, H*D]."""
        return heads.transpose(1, 2).flatten(2).flatten(0, 1)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: Heads) -> Tensor:
    """softmax(q k^T / sqrt(D)) v; rows in, rows out."""
    return heads.join(F.scaled_dot_product_attention(heads.split(q), heads.split(k), heads.split(v)))


class Attended:
    """The same, able to give gradients once. ``out`` [B*N, H*D]."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, heads: Heads, found: tuple | None = None):
        """``found``: what ``attend_for_later`` gave for the same inputs."""
        self._heads, self._inputs = heads, tuple(heads.split(t) for t in (q, k, v))
        self._cudnn = q.is_cuda and _cudnn_can(*self._inputs)
        if self._cudnn:
            self._found = found or _cudnn(*self._inputs)
            result = self._found[0]
        else:
            self._inputs = tuple(t.detach().requires_grad_() for t in self._inputs)
            with torch.enable_grad():
                result = F.scaled_dot_product_attention(*self._inputs)
            self._found = (result,)
        self.out = heads.join(result.detach())

    def gradients(self, towards: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Towards q, k and v, as rows."""
        towards = self._heads.split(towards)
        if self._cudnn:
            out, lse, sum_q, sum_k, max_q, max_k, seed, offset, _ = self._found
            found = _aten._scaled_dot_product_cudnn_attention_backward(
                towards, *self._inputs, out, lse, seed, offset, None, sum_q, sum_k, max_q, max_k, 0.0, False
            )
        else:
            found = torch.autograd.grad(self._found[0], self._inputs, towards)
        self._found = self._inputs = ()
        return tuple(self._heads.join(t) for t in found)


def attend_for_later(q: Tensor, k: Tensor, v: Tensor, heads: Heads) -> tuple[Tensor, tuple | None]:
    """(result, what an ``Attended`` of the same inputs need not compute again; None where it must)."""
    inputs = tuple(heads.split(t) for t in (q, k, v))
    if not (q.is_cuda and _cudnn_can(*inputs)):
        return attend(q, k, v, heads), None
    found = _cudnn(*inputs)
    return heads.join(found[0]), found


def _cudnn(q: Tensor, k: Tensor, v: Tensor) -> tuple:
    return _aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, False, False)


def _cudnn_can(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """cuDNN's is the fastest on Hopper; elsewhere and for other sizes torch chooses."""
    if q.dtype not in (torch.bfloat16, torch.float16):
        return False
    parameters = torch.backends.cuda.SDPAParams(q, k, v, None, 0.0, False, False)
    return torch.backends.cuda.can_use_cudnn_attention(parameters)
