"""Hands a run to torchrun as a child process: follows its events, passes a stop on, and turns its end into an answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..card_memory import ask_for_segments, leave_the_hosts
from ..errors import LTX2Error
from ..protocols import Interrupted, MemoryPlanned, PreviewMade, Progress, Reporter, StopSignal

_LOOK_EVERY = 0.2  # seconds
# Seconds that a child may take to save and leave after it was told to stop: a step of a streamed base, and its state.
_LEAVE_WITHIN = 300.0
_KEYS = ("time", "event", "stage", "done", "total", "text")


def torchrun_command(processes: int, arguments: Sequence[str]) -> list[str]:
    """The command line that runs ``python -m ltx2core ARGUMENTS`` in ``processes`` processes of this machine."""
    entry = Path(__file__).with_name("entry.py")
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), str(entry), *arguments]


def _environment() -> dict[str, str]:
    values = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    if sys.platform == "win32":
        values["USE_LIBUV"] = "0"  # PyTorch's Windows builds come without it
    leave_the_hosts(values)
    ask_for_segments(values)
    return values


class EventTail:
    """The events that a growing log of JSON lines has got since the last look."""

    def __init__(self, path: Path):
        self._path, self._offset = path, path.stat().st_size if path.exists() else 0

    def read(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, _, _ = file.read().rpartition(b"\n")
        if not whole:
            return []
        self._offset += len(whole) + 1
        return [json.loads(line) for line in whole.decode("utf-8").splitlines()]


def relay(event: Mapping[str, Any], reporter: Reporter) -> None:
    """Tell ``reporter`` what another process told its own."""
    kind = event.get("event")
    if kind == "progress":
        metrics = {k: v for k, v in event.items() if k not in _KEYS}
        reporter.progress(Progress(event["stage"], event["done"], event["total"], event["text"], metrics))
    elif kind == "message":
        reporter.message(event["text"], event["level"])
    elif kind == "memory":
        reporter.memory(MemoryPlanned(**{k: v for k, v in event.items() if k not in ("time", "event")}))
    elif kind == "preview":
        reporter.preview(PreviewMade(event["run"], event["step"], event["file"]))


@contextmanager
def _child(command: Sequence[str], output: Path, stop_file: Path) -> Iterator[subprocess.Popen]:
    """Runs inside the block, and never outlives it: it is told to stop first, ended after a while."""
    with output.open("ab") as text:
        # A session of its own: Ctrl-C in the terminal is ours to pass on.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=text, stderr=text, env=_environment(), start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            stop_file.touch()
            for end in (lambda: None, process.terminate, process.kill):
                end()
                try:
                    process.wait(_LEAVE_WITHIN)
                    break
                except subprocess.TimeoutExpired:
                    continue


def _last_lines(path: Path, count: int = 3) -> str:
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    errors = [line for line in lines if "Error" in line and "ChildFailedError" not in line] or [line for line in lines if line]
    return " | ".join(errors[-count:])


def run_together(processes: int, arguments: Sequence[str], folder: Path, *, reporter: Reporter, stop: StopSignal) -> None:
    """``python -m ltx2core ARGUMENTS`` in ``processes`` processes, until they are through.

    Args:
        folder: gets ``events.jsonl``, and ``torchrun.txt`` with what they printed.

    Raises:
        Interrupted: ``stop`` was set; the processes have saved their state and left.
        LTX2Error: they failed; the message is theirs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    events, output, stop_file = folder / "events.jsonl", folder / "torchrun.txt", folder / "stop"
    stop_file.unlink(missing_ok=True)
    output.unlink(missing_ok=True)
    tail, errors, last = EventTail(events), [], ""
    command = torchrun_command(processes, [*arguments, "--events", str(events), "--stop-file", str(stop_file)])
    with _child(command, output, stop_file) as process:
        running = True
        while running:
            running = process.poll() is None
            if stop.requested():
                stop_file.touch()
            for event in tail.read():
                relay(event, reporter)
                if event.get("event") == "message":
                    last = event["text"]
                    errors += [last] if event["level"] == "error" else []
            if running:
                time.sleep(_LOOK_EVERY)
    stopped = stop_file.exists()
    stop_file.unlink(missing_ok=True)
    if process.returncode:
        raise LTX2Error(errors[0] if errors else f"The processes of the run ended with an error ({_last_lines(output)}); {output} has all that they printed.")
    if stopped:
        raise Interrupted(last or "The run was stopped before it began.")
