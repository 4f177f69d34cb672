"""The runs that are training now, by name: what the buttons act on, and what a reloaded page is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...ltx2core.errors import LTX2Error
from ...ltx2core.train.controls import RunControls

# What a request shows until the loop, which looks between two steps, has heard it.
_ASKED = {"pause": "pausing", "resume": "running", "save": "saving", "stop": "stopping"}
ACTIONS = tuple(_ASKED)


class LiveRun:
    """One run while its node executes. ``controls`` are for the core; ``state`` is one of its states."""

    def __init__(self, name: str, tell: Callable[[dict[str, Any]], None]):
        self.name, self._tell = name, tell
        self.controls = RunControls(self._set)
        self.state = "running"
        self.progress: Mapping[str, Any] = {}
        self.plan: Mapping[str, Any] = {}

    def request(self, action: str) -> str:
        """Hand ``action``, one of :data:`ACTIONS`, to the run and return the state that it leads to."""
        # First, since the loop may have done what is asked before this thread goes on.
        self._set(_ASKED[action])
        self.controls.request(action)
        return self.state

    def _set(self, state: str) -> None:
        # Also told to every page, so that a second tab's buttons follow.
        if state != self.state:
            self.state = state
            self._tell({"run": self.name, "state": state})

    def snapshot(self) -> dict[str, Any]:
        return {"state": self.state, "progress": dict(self.progress) or None, "plan": dict(self.plan) or None}


class LiveRuns:
    """Only runs in here can be paused, saved or stopped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, LiveRun] = {}

    def find(self, name: str) -> LiveRun | None:
        with self._lock:
            return self._runs.get(name)

    @contextmanager
    def running(self, name: str, tell: Callable[[dict[str, Any]], None]) -> Iterator[LiveRun]:
        """``name`` is known inside the block; ``tell`` is given its states.

        Raises:
            LTX2Error: a run of this name is training already.
        """
        run = LiveRun(name, tell)
        with self._lock:
            if name in self._runs:
                raise LTX2Error(f"A run named {name} is training already; wait for it, or choose another name.")
            self._runs[name] = run
        tell({"run": name, "state": "running"})
        try:
            yield run
        finally:
            with self._lock:
                del self._runs[name]
            tell({"run": name, "state": "ended"})


LIVE = LiveRuns()
