"""Seconds a step and time left, from when the last events came."""

from __future__ import annotations

import time
from collections import deque

_WINDOW = 30


class Pace:
    """Over the last 30 events, so that a slow start (compiling) does not stay in the figure."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=_WINDOW)

    def forget(self) -> None:
        """After a pause, whose length says nothing about a step."""
        self._seen.clear()

    def after(self, done: int, total: int) -> dict[str, float] | None:
        """None until two different steps have been seen."""
        now = time.monotonic()
        if self._seen and self._seen[-1][0] >= done:
            self._seen.clear()
        self._seen.append((done, now))
        first, began = self._seen[0]
        if done == first:
            return None
        each = (now - began) / (done - first)
        return {"seconds_per_step": each, "seconds_left": each * (total - done)}
