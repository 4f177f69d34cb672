"""Notices when a process of the run dies or fails, and finds out which one and why.

Each process beats in the store that torchrun keeps, and looks after the one with the next rank. Whoever finds a silent
one, or fails itself, writes the cause there, where all read it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

INTERVAL = 0.5  # seconds between two beats
# Seconds of silence before a process counts as dead: long, since one that loads a model may beat late; shorter while cards
# wait for each other, since torchrun leaves the survivors 30 seconds to save; and short where something has failed already
# and only the culprit's name is missing.
PATIENCE, WAITING_PATIENCE, SHORT_PATIENCE = 60.0, 12.0, 3.0
_CAUSE = "ltx2/cause"
_FAILED = (RuntimeError, OSError)  # of the store, when its process is gone


class Watch:
    """A thread for one process of a run.

    Args:
        store: its own connection, used by nothing else.
        lost: called once, on this thread or in ``find_cause``, when another process is gone.
    """

    def __init__(self, store: dist.Store, rank: int, size: int, lost: Callable[[], None] = lambda: None):
        self._store, self.rank, self.size = store, rank, size
        self._lost, self._patience = lost, PATIENCE
        self._lock, self._end = threading.Lock(), threading.Event()
        self._cause: str | None = None
        self._next, self._seen, self._heard = (rank + 1) % size, -1, time.monotonic()
        self._store.set(f"ltx2/name/{rank}", f"rank {rank} of {size} (process {os.getpid()} on {socket.gethostname()})")
        self._thread = threading.Thread(target=self._run, name="ltx2-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(INTERVAL):
            self._look(self._patience)

    def hurry(self, on: bool) -> None:
        """Whether this process can go on only when the others do their part, of which none is long about it."""
        self._patience = WAITING_PATIENCE if on else PATIENCE

    def _look(self, patience: float) -> None:
        with self._lock:
            try:
                self._store.add(f"ltx2/beat/{self.rank}", 1)
                if self._store.check([_CAUSE]):
                    self._cause = self._cause or self._store.get(_CAUSE).decode()
                elif self.size > 1 and self._silent(self._next, patience):
                    self._say(f"The process of {self._name(self._next)} died.")
            except _FAILED:
                self._cause = self._cause or "The process that led the run, or its machine, died."
            if self._cause is not None:
                self._lost, lost = lambda: None, self._lost
                lost()

    def _silent(self, rank: int, patience: float) -> bool:
        if self._store.check([f"ltx2/done/{rank}"]):
            return False
        beats, now = self._store.add(f"ltx2/beat/{rank}", 0), time.monotonic()
        if beats != self._seen:
            self._seen, self._heard = beats, now
        return now - self._heard > patience

    def _name(self, rank: int) -> str:
        key = f"ltx2/name/{rank}"
        return self._store.get(key).decode() if self._store.check([key]) else f"rank {rank} of {self.size}"

    def _say(self, cause: str) -> None:
        # The first one who knows is right; what the others notice follows from it.
        self._cause = self._store.compare_set(_CAUSE, "", cause).decode()

    @property
    def cause(self) -> str | None:
        """What went wrong, as soon as anybody knows."""
        return self._cause

    def fail(self, why: str) -> None:
        """Tell the others that this process ends with an error of its own."""
        with self._lock:
            if self._cause is None:
                try:
                    self._say(f"The process of {self._name(self.rank)} failed: {why}")
                except _FAILED:
                    self._cause = why

    def find_cause(self, seen: str) -> str:
        """Called when the others can't be reached any more: the cause, after some seconds of looking at most.

        seen: what this process noticed, said when nobody knows more.
        """
        deadline = time.monotonic() + 3 * SHORT_PATIENCE
        while self._cause is None and time.monotonic() < deadline:
            time.sleep(INTERVAL / 2)
            self._look(SHORT_PATIENCE)
        return self._cause or f"A process of the run, or the network to it, was lost ({seen})."

    def close(self) -> None:
        """This process is done, and its silence from now on is no death."""
        self._end.set()
        self._thread.join()
        with self._lock:
            try:
                self._store.add(f"ltx2/done/{self.rank}", 1)
            except _FAILED:
                return  # whoever kept the store has ended before, and nobody is left to be told


def connect(host: str, port: int) -> dist.Store:
    return dist.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=30))
