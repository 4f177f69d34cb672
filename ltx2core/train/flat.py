"""Many small parameters as one: an update is then a few large kernels instead of some for each of 2304 matrices."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor, nn

# Elements; keeps every parameter aligned for the fastest matrix kernels, and the whole a multiple of 8-bit state blocks.
ALIGNMENT = 256


class FlatParameters:
    """Moves the memory of ``parameters`` (one dtype, one device) and of their gradients into two flat tensors.

    ``values`` and ``gradients`` [total] share memory with the parameters, which keep their addresses from then on. The
    padding between them stays zero. Moving the module to another device ends this.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]):
        self.parameters = tuple(parameters)
        first, offsets, total = self.parameters[0], [], 0
        for parameter in self.parameters:
            offsets.append(total)
            total += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
        self.values = torch.zeros(total, dtype=first.dtype, device=first.device)
        self.gradients = torch.zeros_like(self.values)
        with torch.no_grad():
            for parameter, offset in zip(self.parameters, offsets, strict=True):
                place = slice(offset, offset + parameter.numel())
                self.values[place].copy_(parameter.flatten())
                parameter.data = self.values[place].view(parameter.shape)
                parameter.grad = self.gradients[place].view(parameter.shape)

    @cached_property
    def matrices(self) -> Tensor | None:
        """[total] bool: where numbers of matrices lie, not those of vectors such as a DoRA's sizes; None for everywhere."""
        if all(p.ndim > 1 for p in self.parameters):
            return None
        mask, start = torch.zeros_like(self.values, dtype=torch.bool), self.values.storage_offset()
        for parameter in self.parameters:
            offset = parameter.storage_offset() - start
            mask[offset : offset + parameter.numel()] = parameter.ndim > 1
        return mask
