"""Low-rank mathematics of adapters: factors put side by side, and the best factors of a lower rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LTX2Error
from .adapter_layers import DoRALayer, Layer, LoRALayer


@dataclass(frozen=True)
class Reduced:
    """layer: the best of its rank; kept, total: sums of squared singular values, which are squared Frobenius norms."""

    layer: LoRALayer
    kept: float
    total: float


def factors(layer: Layer, strength: float = 1.0) -> LoRALayer:
    """``strength`` times a layer's change as (down, up), float32, exact. A LoKr or LoHa becomes full rank.

    Raises:
        LTX2Error: a DoRA, whose change depends on the base weights.
    """
    if isinstance(layer, DoRALayer):
        raise LTX2Error("A DoRA can't be merged or resized without the base weights; use it beside the others in Apply LTX-2 Adapters.")
    if isinstance(layer, LoRALayer):
        return LoRALayer(layer.down.float(), layer.up.float() * strength)
    delta = layer.delta() * strength
    if delta.shape[0] < delta.shape[1]:
        return LoRALayer(delta, torch.eye(delta.shape[0]))
    return LoRALayer(torch.eye(delta.shape[1]), delta)


def side_by_side(parts: Sequence[LoRALayer]) -> LoRALayer:
    """The sum of the changes, exact: ranks add up."""
    return LoRALayer(torch.cat([p.down for p in parts]), torch.cat([p.up for p in parts], dim=1))


def _rank_for(squares: Tensor, keep: float) -> int:
    """The smallest rank that keeps the part ``keep`` of the sum."""
    share = squares.cumsum(0) / squares.sum().clamp(min=torch.finfo(squares.dtype).tiny)
    return min(int((share < keep).sum()) + 1, len(squares))


def reduced(layer: LoRALayer, rank: int | None = None, keep: float | None = None) -> Reduced:
    """The layer of ``rank``, or of the smallest rank that keeps ``keep`` (0..1) of the energy, nearest to ``layer``.

    Eckart and Young 1936: the truncated SVD. It is taken of the small core between the QR factors of both matrices, so
    the [out, in] product is never formed. The roots of the singular values go to both sides.
    """
    up_q, up_r = torch.linalg.qr(layer.up.double())
    down_q, down_r = torch.linalg.qr(layer.down.double().T)
    u, s, v = torch.linalg.svd(up_r @ down_r.T, full_matrices=False)
    squares = s**2
    chosen = min(rank if rank is not None else _rank_for(squares, keep), len(s))
    root = s[:chosen].sqrt()
    up, down = up_q @ u[:, :chosen] * root, root[:, None] * (v[:chosen] @ down_q.T)
    return Reduced(LoRALayer(down.float(), up.float()), squares[:chosen].sum().item(), squares.sum().item())
