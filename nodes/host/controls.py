"""The runs that are training now, by name: what the three buttons act on, and what a reloaded page is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from ...ltx2core.errors import LTX2Error

ACTIONS = ("pause", "resume", "save", "stop")
# What a request shows until the loop, which looks between two steps, has heard it.
_ASKED = {"pause": "pausing", "resume": "running", "save": "saving", "stop": "stopping"}


class Controls(Protocol):
    def request(self, action: str) -> None:
        """One of :data:`ACTIONS`, honoured between two steps. Called from the server's thread."""
        ...


class LiveRun:
    """One run while its node executes. ``state``: running, pausing, paused, saving or stopping."""

    def __init__(self, name: str, controls: Controls, tell: Callable[[dict[str, Any]], None]):
        self.name, self._controls, self._tell = name, controls, tell
        self.state = "running"
        self.progress: Mapping[str, Any] = {}

    def request(self, action: str) -> str:
        """Hand ``action`` on and return the state that it leads to."""
        self._controls.request(action)
        self.set_state(_ASKED[action])
        return self.state

    def set_state(self, state: str) -> None:
        """Also told to every page, so that a second tab's buttons follow."""
        if state != self.state:
            self.state = state
            self._tell({"run": self.name, "state": state})

    def snapshot(self) -> dict[str, Any]:
        return {"state": self.state, "progress": dict(self.progress) or None}


class LiveRuns:
    """Only runs in here can be paused, saved or stopped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, LiveRun] = {}

    def find(self, name: str) -> LiveRun | None:
        with self._lock:
            return self._runs.get(name)

    @contextmanager
    def running(self, name: str, controls: Controls, tell: Callable[[dict[str, Any]], None]) -> Iterator[LiveRun]:
        """``name`` is known inside the block.

        Raises:
            LTX2Error: a run of this name is training already.
        """
        run = LiveRun(name, controls, tell)
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
