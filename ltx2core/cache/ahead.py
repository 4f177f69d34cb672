"""Reads what is wanted next while other work is done, and counts where the time goes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")
_THREADS, _DEPTH = 2, 4
# Stages of work and what is made of them, and what a sentence calls them.
VIDEO, AUDIO, TEXT, WRITING, WAITING = "video", "audio", "text", "writing", "waiting"
_STAGES = {VIDEO: "the video VAE", AUDIO: "the audio VAE", TEXT: "the text encoder", WRITING: "writing files", WAITING: "waiting for files"}
CLIPS, CAPTIONS = "clips", "captions"
_MADE = {CLIPS: "Clips", CAPTIONS: "Captions"}


def read_ahead(items: Iterable[Item], read: Callable[[Item], Result]) -> Iterator[tuple[Item, Future[Result]]]:
    """Each item, in order, with what ``read`` makes of it; up to four are read or wait at once.

    What ``read`` raises comes out of the future's ``result()``. Reading ends when the iterator is closed.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="read")
    try:
        for item in items:
            waiting.append((item, threads.submit(read, item)))
            if len(waiting) == _DEPTH:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


@dataclass
class Stages:
    """Seconds of each stage of one thread's work; what other threads do meanwhile takes no time of it."""

    began: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """name: one of those above."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began

    @property
    def total(self) -> float:
        return time.monotonic() - self.began

    def told(self, count: int, made: str) -> str:
        """A sentence on clips or captions: how many a second, and each stage's share; other processes may have made all."""
        if not count:
            return f"{_MADE[made]}: nothing had to be made."
        total = self.total
        shares = ", ".join(f"{seconds / total:.0%} for {_STAGES[name]}" for name, seconds in self.seconds.items())
        return f"{_MADE[made]}: {count} in {total:.1f} s, {count / total:.2g} a second; {shares}."
