"""What part of the training's time the steps wait for their batches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DataWait:
    """Of the steps of one session but the first, which waits for the first batch and, on a card, for kernels to be made.

    waited, seconds: of the host. On a card, which works on behind the host, the device waits at most as long.
    """

    waited: float = 0.0
    seconds: float = 0.0
    steps: int = 0

    def add(self, waited: float, seconds: float) -> None:
        """One step that took ``seconds``, ``waited`` of them for data."""
        self.steps += 1
        if self.steps > 1:
            self.waited += waited
            self.seconds += seconds

    @property
    def share(self) -> float | None:
        """In 0..1; None before the second step."""
        return self.waited / self.seconds if self.seconds > 0 else None
