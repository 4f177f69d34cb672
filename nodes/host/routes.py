"""HTTP routes of the pack, read-only and bounded: the losses of a run, so that a reloaded page shows the whole curve."""

from __future__ import annotations

import json
import re
from pathlib import Path

from aiohttp import web
from server import PromptServer

from .paths import HostPaths

PREFIX = "/ltx2"
_NAME = re.compile(r"[\w .\-]+(/[\w .\-]+)*")
_MOST_POINTS = 2000
_MOST_BYTES = 64 * 2**20


def run_file(runs: Path, name: str) -> Path | None:
    """The metrics of run ``name``; None for a name that leaves ``runs``, by dots or by links, or that is no run."""
    if not _NAME.fullmatch(name) or ".." in name:
        return None
    path = (runs / name / "metrics.jsonl").resolve()
    if not path.is_relative_to(runs.resolve()) or not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return None
    return path


def read_points(path: Path, most: int = _MOST_POINTS) -> dict:
    """{"steps": [...], "validation": [...]}: validations whole, steps thinned evenly to at most ``most``."""
    steps, validation = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the line that is being written now
        (steps if record.get("event") == "step" else validation).append(record)
    every = -(-len(steps) // most) or 1
    return {"steps": steps[::every], "validation": validation}


async def _metrics(request: web.Request) -> web.Response:
    path = run_file(HostPaths().runs_dir(), request.match_info["name"])
    if path is None:
        return web.json_response({"steps": [], "validation": []})
    return web.json_response(read_points(path))


def register() -> None:
    """Once, when the pack is loaded."""
    server = getattr(PromptServer, "instance", None)  # absent when the pack is imported without a server
    if server is not None:
        server.routes.get(PREFIX + "/runs/{name:.+}/metrics")(_metrics)
