"""What a command of the command line runs with: alone, or as one of the processes that torchrun started."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import LTX2Error
from ..protocols import Interrupted, MemoryPlanned, PreviewMade, Progress
from ..standalone import ConsoleReporter, PlainResidency, StopFlag
from .group import joined, own_device, started_by_torchrun
from .world import ALONE


class StopFile:
    """A stop signal that another program gives by making a file; an inner one counts too."""

    def __init__(self, inner: StopFlag, path: Path | None):
        self._inner, self._path = inner, path

    def requested(self) -> bool:
        return self._inner.requested() or (self._path is not None and self._path.exists())


class OtherReporter:
    """Of a process that is not the first: what all say alike is left out, errors are told."""

    def __init__(self, inner: ConsoleReporter, rank: int):
        self._inner, self._rank = inner, rank

    def progress(self, event: Progress) -> None:
        return

    def preview(self, event: PreviewMade) -> None:
        return

    def memory(self, event: MemoryPlanned) -> None:
        return

    def message(self, text: str, level: str = "info") -> None:
        if level == "error":
            self._inner.message(f"Process {self._rank}: {text}", level)

    def close(self) -> None:
        self._inner.close()


def _install_stop(flag: StopFlag) -> None:
    """torchrun repeats the signals that the terminal has sent already, and ends the others with one when a process died."""

    def handler(signum: int, frame: object) -> None:
        flag.stopped = True

    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)


@contextmanager
def membership(device: str | None, log: str | None, stop_file: str | None) -> Iterator[tuple[Any, dict[str, Any]]]:
    """(reporter, {residency, stop, world}) inside the block.

    Under torchrun an LTX2Error is written to the log by the process that it belongs to, and a stop is no failure, since
    torchrun would report one for each process.
    """
    path = Path(stop_file) if stop_file else None
    if not started_by_torchrun():
        reporter = ConsoleReporter(Path(log) if log else None)
        try:
            yield reporter, {"residency": PlainResidency(device), "stop": StopFile(StopFlag().install(), path), "world": ALONE}
        finally:
            reporter.close()
        return
    flag = StopFlag()
    _install_stop(flag)
    own = own_device(device, int(os.environ["LOCAL_RANK"]))
    console = ConsoleReporter(Path(log) if log else None)
    rank = int(os.environ["RANK"])
    reporter = OtherReporter(console, rank) if rank else console
    try:
        with joined(own) as world:
            if world.size > 1:
                members = world.gather(f"{os.getpid()} on {socket.gethostname()}")
                reporter.message(f"{world.size} processes share the work: {', '.join(members)}.")
            yield reporter, {"residency": PlainResidency(own), "stop": StopFile(flag, path), "world": world}
    except Interrupted as stopped:
        reporter.message(str(stopped))
    except LTX2Error as error:
        reporter.message(str(error), "error")
        raise
    finally:
        reporter.close()
        sys.stderr.flush()
