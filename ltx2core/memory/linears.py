"""Linear layers of a block that is run a second time for its gradients alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# What they make is only added to a block's result, so no gradient depends on its values.
LAST_LAYERS = ("ff.net.2", "audio_ff.net.2")


class _InputGradient(torch.autograd.Function):
    """Backward of x W^T + b towards x; forward gives zeros of its shape, without memory or arithmetic."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return x.new_zeros(()).expand(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx, towards: Tensor):
        (weight,) = ctx.saved_tensors
        return towards @ weight, None


class ResultlessLinear(nn.Linear):
    """A frozen linear layer whose result nobody reads: right gradients, no product in forward."""

    def forward(self, x: Tensor) -> Tensor:
        return _InputGradient.apply(x, self.weight)


def for_gradients(block: nn.Module, last: Sequence[str] = LAST_LAYERS) -> nn.Module:
    """A copy of ``block`` with the same parameters, for recomputing: its results are wrong, its gradients right.

    The second matrices of both feed-forward nets, a fifth of a block's arithmetic, are left out in forward. A layer that
    an adapter has wrapped stays, since the adapter's own gradient may read its result.
    """
    twin = copy.deepcopy(block, {id(p): p for p in block.parameters()})
    for name in last:
        layer = twin.get_submodule(name)
        if type(layer) is nn.Linear:
            layer.__class__ = ResultlessLinear
    return twin
