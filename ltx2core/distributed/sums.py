"""One step's gradients, added up over its passes and over the processes."""

from __future__ import annotations

import torch
from torch import Tensor

from .world import World


class GradientSum:
    """Of the flat ``gradients`` [total] of the flat ``values`` [total], which all processes get from the first one.

    With ``exact`` float32 gradients are added in float64, where the order of the clips does not show: the same global
    batch then gives the same bits however it is dealt out. It costs 8 bytes a trained value. Others are added in place.
    """

    def __init__(self, values: Tensor, gradients: Tensor, world: World, exact: bool):
        self._gradients = gradients
        self._total = torch.zeros_like(gradients, dtype=torch.float64) if exact and gradients.dtype == torch.float32 else None
        if self._total is None:
            self._reduce = world.reducer(values, gradients)
            return
        start = values.double()
        self._reduce = world.reducer(start, self._total)
        values.copy_(start)

    def add(self) -> None:
        """After a pass, which added to ``gradients``."""
        if self._total is not None:
            self._total.add_(self._gradients)
            self._gradients.zero_()

    def finish(self) -> None:
        """After the last pass: ``gradients`` are the sum over all passes and processes."""
        self._reduce()
        if self._total is not None:
            self._gradients.copy_(self._total)
            self._total.zero_()
