"""UniPC, the predictor-corrector of Zhao et al. 2023, for one sample: data prediction, alpha = 1 - sigma, B(h) = e^h - 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Where one more point is known than the order needs no equation: half of its difference, as the authors take it.
_HALF = 0.5


def half_log_snr(sigma: float) -> float:
    """lambda; -inf at pure noise."""
    return math.log((1 - sigma) / sigma) if sigma < 1 else -math.inf


class UniPC:
    """One sample on its way. A step's corrector uses the evaluation that the next step makes anyway, so none is added.

    Points at pure noise have no finite lambda and are used as a step's beginning alone. order: most points of the
    predictor; the corrector uses one more.
    """

    def __init__(self, order: int):
        self._order = order
        self._known: list[tuple[Tensor, float]] = []  # x0 as predicted, lambda; the newest last
        self._from: tuple[Tensor, float] | None = None  # the corrected state that the last step began at, and its sigma

    def step(self, x: Tensor, velocity: Tensor, start: float, end: float) -> Tensor:
        """The state at ``end`` < ``start``, float64, from ``x`` at ``start`` and the model's velocity there."""
        x, x0 = x.double(), x.double() - start * velocity.double()
        if self._from is not None:
            x = self._moved(*self._from, start, x0)
        self._known = [*self._known, (x0, half_log_snr(start))][-self._order :]
        self._from = x, start
        return self._moved(x, start, end, None)

    def _moved(self, x: Tensor, start: float, end: float, ahead: Tensor | None) -> Tensor:
        """``x`` at ``start`` brought to ``end``; with x0 ``ahead``, as predicted at ``end``, corrected."""
        x0, here = self._known[-1]
        h = half_log_snr(end) - here
        growth = math.expm1(-h)
        plain = end / start * x - (1 - end) * growth * x0
        earlier = [(m, (other - here) / h) for m, other in reversed(self._known[:-1]) if math.isfinite(other)]
        points = [*((m - x0) / r for m, r in earlier), *([] if ahead is None else [ahead - x0])]
        places = [*(r for _, r in earlier), *([] if ahead is None else [1.0])]
        if not points:
            return plain
        weights = [_HALF] if len(points) == 1 else _weights(places, h)
        return plain - (1 - end) * growth * sum(w * point for w, point in zip(weights, points, strict=True))


def _weights(places: list[float], h: float) -> list[float]:
    """rho of sum_i rho_i r_i^(j-1) = j! phi_(j+1)(-h) (-h) / B(-h) for j = 1, 2, …: the conditions of order."""
    phi, factorial, right = math.expm1(-h) / -h - 1, 1, []
    for j in range(1, len(places) + 1):
        right.append(phi * factorial / math.expm1(-h))
        factorial *= j + 1
        phi = phi / -h - 1 / factorial
    powers = torch.tensor([[r**j for r in places] for j in range(len(places))], dtype=torch.float64)
    return torch.linalg.solve(powers, torch.tensor(right, dtype=torch.float64)).tolist()
