"""How far a faster path's results are from the plain one's: what benchmarks print and tests bound."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_SMALLEST = 1e-7  # of a norm that is divided by: where the truth is 0 the difference itself counts


def relative_error(ours: Tensor, expected: Tensor) -> float:
    """||ours - expected|| / ||expected|| over all elements, in double precision."""
    ours, expected = ours.detach().double(), expected.detach().double()
    return ((ours - expected).norm() / expected.norm().clamp(min=_SMALLEST)).item()


def worst_relative_error(ours: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """The largest ``relative_error`` of the tensors named in ``expected``."""
    return max(relative_error(ours[name], tensor) for name, tensor in expected.items())
