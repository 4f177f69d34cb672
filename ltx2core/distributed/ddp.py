"""The adapter's gradients of all processes, summed by torch's DistributedDataParallel.

DDP wraps one flat parameter that shares the adapter's memory, and is handed the finished gradient of the step. The base,
frozen, streamed or quantised, is outside it, and so is the step itself: captured graphs run no hooks. Overlapping the
sum with backward would gain little: docs/scaling.md has the figures.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class _Given(torch.autograd.Function):
    """Zero, whose gradient by ``values`` is ``gradients``."""

    @staticmethod
    def forward(ctx, values: Tensor, gradients: Tensor) -> Tensor:
        ctx.save_for_backward(gradients)
        return values.new_zeros(())

    @staticmethod
    def backward(ctx, _: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0], None


class _Adapter(nn.Module):
    def __init__(self, values: Tensor):
        super().__init__()
        self.values = nn.Parameter(values)

    def forward(self, gradients: Tensor) -> Tensor:
        return _Given.apply(self.values, gradients)


def _summed(group, bucket):  # without types: DDP compares them with classes, and here they would be text
    """DDP's own hook takes the mean; the shares of the losses are of the global batch already."""
    return dist.all_reduce(bucket.buffer(), group=group, async_op=True).get_future().then(lambda done: done.value()[0])


class AdapterReducer:
    """Call it when the gradients of a step are complete; made on all processes at once, it gives all the first one's values.

    values, gradients: [total], see ``train/flat.py``; both are changed in place.
    """

    def __init__(self, values: Tensor, gradients: Tensor):
        self._gradients, self._adapter = gradients, _Adapter(values)
        self._ddp = DistributedDataParallel(self._adapter, gradient_as_bucket_view=True)
        self._ddp.register_comm_hook(None, _summed)

    def __call__(self) -> None:
        self._adapter.zero_grad()
        with torch.enable_grad():
            self._ddp(self._gradients).backward()
        self._gradients.copy_(self._adapter.values.grad)
