"""The protocols for a program without ComfyUI: plain moves, tqdm, a flag, ordinary folders."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from .errors import LTX2Error
from .protocols import MemoryPlanned, PreviewMade, Progress, Room


def default_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def device_named(name: str | None) -> torch.device:
    """``name`` as a person gives it, or the best device."""
    return torch.device(name) if name else default_device()


class PlainResidency:
    """Moves modules with ``.to()``. With ``offload`` a module leaves the device when its block ends."""

    def __init__(self, device: torch.device | None = None, offload: bool = True):
        self.device = torch.device(device) if device is not None else default_device()
        self.offload = offload

    @contextmanager
    def use(self, module: torch.nn.Module, working_bytes: int = 0) -> Iterator[torch.nn.Module]:
        module.to(self.device)
        try:
            yield module
        finally:
            if self.offload:
                self.release(module)

    def release(self, module: torch.nn.Module) -> None:
        if self.device.type == "cpu":
            return
        module.to("cpu")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def room(self) -> Room:
        """Nothing is moved away to make more of it."""
        if self.device.type == "cuda":
            from .memory.plan import free_device_bytes

            free = free_device_bytes(self.device)
        else:
            import psutil

            free = psutil.virtual_memory().available
        return Room(free, free)


class ConsoleReporter:
    """A tqdm bar per stage, messages on stderr, and every event as one line of JSON when ``log`` is given."""

    def __init__(self, log: Path | None = None, quiet: bool = False):
        self._quiet, self._bar, self._stage = quiet, None, ""
        self._log = open(log, "a", encoding="utf-8") if log else None

    def _write(self, record: dict) -> None:
        if self._log:
            self._log.write(json.dumps({"time": time.time(), **record}, ensure_ascii=False) + "\n")
            self._log.flush()

    def progress(self, event: Progress) -> None:
        self._write({"event": "progress", "stage": event.stage, "done": event.done, "total": event.total, "text": event.text, **event.metrics})
        if self._quiet:
            return
        if self._bar is None or self._stage != event.stage:
            if self._bar is not None:
                self._bar.close()
            self._bar, self._stage = tqdm(total=event.total, desc=event.stage, file=sys.stderr), event.stage
        self._bar.total = event.total
        self._bar.n = event.done
        if event.metrics:
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in event.metrics.items()}, refresh=False)
        self._bar.refresh()

    def message(self, text: str, level: str = "info") -> None:
        self._write({"event": "message", "level": level, "text": text})
        if not self._quiet:
            tqdm.write(text if level == "info" else f"{level}: {text}", file=sys.stderr)

    def preview(self, event: PreviewMade) -> None:
        self._write({"event": "preview", "run": event.run, "step": event.step, "file": event.file})
        if not self._quiet:
            tqdm.write(f"Preview at step {event.step}: {event.file}", file=sys.stderr)

    def memory(self, event: MemoryPlanned) -> None:
        self._write({"event": "memory", **asdict(event)})
        if not self._quiet:
            tqdm.write(event.text, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._log:
            self._log.close()


@dataclass
class StopFlag:
    """A stop signal that any code can set; ``install`` makes Ctrl-C set it (a second Ctrl-C kills)."""

    stopped: bool = False

    def requested(self) -> bool:
        return self.stopped

    def install(self) -> StopFlag:
        def handler(signum, frame):
            if self.stopped:
                raise KeyboardInterrupt
            self.stopped = True

        signal.signal(signal.SIGINT, handler)
        return self


@dataclass
class FolderPaths:
    """Names are paths, absolute or under ``root``."""

    root: Path = field(default_factory=Path.cwd)

    def _find(self, name: str) -> Path:
        path = Path(os.path.expanduser(name))
        path = path if path.is_absolute() else self.root / path
        if not path.exists():
            raise LTX2Error(f"No file at {path}; check the path, or put the file there.")
        return path

    checkpoint = text_encoder = lora = _find

    def loras_dir(self) -> Path:
        return self._made("loras")

    def output_dir(self) -> Path:
        return self._made("output")

    def cache_dir(self) -> Path:
        return self._made("cache")

    def _made(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path
