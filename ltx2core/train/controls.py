"""Pause, resume, save now, stop and save: what a person asks of a run while it trains, from any thread.

The loop looks between two steps. A stop signal (Cancel, Ctrl-C) is something else: it saves and raises ``Interrupted``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from ..protocols import Interrupted, Reporter, StopSignal
from .checks import check_choice
from .resume import how_to_go_on

T = TypeVar("T")

ACTIONS = ("pause", "resume", "save", "stop")
STATES = ("running", "pausing", "paused", "saving", "stopping")
_LOOK_EVERY = 0.2  # seconds between two looks at the stop signal while paused


class Paused(Interrupted):
    """A person asked for a pause; the state of ``step`` is saved. Whoever called ``train`` waits and calls it again."""

    def __init__(self, step: int):
        super().__init__(f"Training is paused at step {step}; its state is saved.")
        self.step = step


class Controls(Protocol):
    """What the loop asks; see :class:`RunControls`."""

    def take_save(self) -> bool:
        """True once for each request to save."""
        ...

    def stop_requested(self) -> bool: ...

    def pause_requested(self) -> bool: ...

    def announce(self, state: str) -> None:
        """Tell people which of :data:`STATES` the run is in."""
        ...

    def wait(self, seconds: float) -> None:
        """Return when something is asked for, or after ``seconds``."""
        ...


class RunControls:
    """Of one run. ``tell`` is called with each new state, in the thread that brought it about."""

    def __init__(self, tell: Callable[[str], None] | None = None):
        self._tell, self._changed = tell, threading.Condition()
        self._save = self._pause = self._stop = False
        self.state = "running"

    def listen(self, tell: Callable[[str], None]) -> None:
        """Let ``tell`` be called with each new state."""
        self._tell = tell

    def request(self, action: str) -> None:
        """``pause`` saves, frees the device and waits; ``resume`` ends that; ``save`` saves and goes on; ``stop`` saves
        and returns what has been learned so far.

        Raises:
            LTX2Error: ``action`` is none of :data:`ACTIONS`.
        """
        check_choice("action", action, ACTIONS)
        with self._changed:
            self._save = self._save or action == "save"
            self._stop = self._stop or action == "stop"
            if action != "save":
                self._pause = action == "pause"
            self._changed.notify_all()

    def take_save(self) -> bool:
        with self._changed:
            asked, self._save = self._save, False
        return asked

    def stop_requested(self) -> bool:
        return self._stop

    def pause_requested(self) -> bool:
        return self._pause

    def announce(self, state: str) -> None:
        if state != self.state:
            self.state = state
            if self._tell is not None:
                self._tell(state)

    def wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._pause, seconds)


def with_pauses(attempt: Callable[[bool], T], controls: Controls | None, stop: StopSignal, reporter: Reporter, resume: str = "auto") -> T:
    """``attempt`` until it returns something other than a pause.

    Args:
        attempt: trains from the last checkpoint; it is told whether it was paused before. When it raises Paused, nothing
            of the run lies on the device.
        resume: of the run's settings.

    Raises:
        Interrupted: stopped, also during a pause.
    """
    again = False
    while True:
        try:
            return attempt(again)
        except Paused as paused:
            if controls is None:
                raise
            controls.announce("paused")
            reporter.message(f"{paused} The device is free until it is resumed.")
            while controls.pause_requested():
                if stop.requested():
                    raise Interrupted(f"Training stopped at step {paused.step} while it was paused; {how_to_go_on(resume)}.") from paused
                controls.wait(_LOOK_EVERY)
            controls.announce("running")
            again = True
