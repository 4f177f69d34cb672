"""What a piece of work takes: seconds, host memory and device memory at their highest."""

from __future__ import annotations

import json
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

GIB = 2**30


@dataclass
class Taken:
    """host_peak: bytes of this process's own memory (page-locked too), beyond what it had at the beginning; mapped files,
    which the system may drop at any time, are not counted. Device bytes are whole, not differences; left: allocated at the end.
    """

    seconds: float = 0.0
    host_peak: int = 0
    device_allocated_peak: int = 0
    device_reserved_peak: int = 0
    device_left: int = 0

    def record(self) -> dict[str, float]:
        """Seconds and GiB, rounded."""
        return {k if k == "seconds" else f"{k}_gib": round(v if k == "seconds" else v / GIB, 3) for k, v in asdict(self).items()}


def own_bytes() -> int:
    """Of this process: anonymous and shared pages; Linux alone tells."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "RssShmem")))


@contextmanager
def taken(interval: float = 0.005) -> Iterator[Taken]:
    """Filled in when the block ends; host memory is looked at every ``interval`` seconds."""
    found, over, card = Taken(), threading.Event(), torch.cuda.is_available()
    before, highest = own_bytes(), [0]

    def watch() -> None:
        while not over.wait(interval):
            highest[0] = max(highest[0], own_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    if card:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    watcher.start()
    began = time.monotonic()
    try:
        yield found
    finally:
        if card:
            torch.cuda.synchronize()
        found.seconds = time.monotonic() - began
        over.set()
        watcher.join()
        found.host_peak = max(highest[0], own_bytes()) - before
        if card:
            found.device_allocated_peak, found.device_reserved_peak = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
            found.device_left = torch.cuda.memory_allocated()


def beside() -> dict[str, str]:
    """What belongs to every record: the machine, the versions and the command."""
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {"machine": machine, "torch": torch.__version__, "python": platform.python_version(), "command": " ".join(sys.argv)}


def write_record(path: Path | None, record: dict[str, object]) -> None:
    """As JSON; nothing without ``path``."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1), encoding="utf-8")
