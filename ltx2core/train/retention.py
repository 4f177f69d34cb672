"""Which checkpoints stay on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Retention:
    """The newest ``last``, and those at multiples of ``every`` steps (0: none)."""

    last: int = 3
    every: int = 0

    def dropped(self, steps: Iterable[int]) -> list[int]:
        """Those of ``steps`` that may be removed, oldest first."""
        ordered = sorted(steps)
        return [s for s in ordered[: -self.last] if not (self.every and s % self.every == 0)]
