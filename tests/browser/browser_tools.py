"""Finds what the browser scripts need and runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
_ENABLE = "npm install --prefix <folder> playwright-core, then set NODE_PATH to <folder>/node_modules"


class NoBrowser(RuntimeError):
    """One line that says what is missing."""


def find_chromium() -> str:
    """CHROMIUM, else one on the path.

    Raises:
        NoBrowser: there is none.
    """
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if not found:
        raise NoBrowser("no Chromium found: install one, or set CHROMIUM to its program")
    return found


def script_environment() -> dict[str, str]:
    """Raises NoBrowser when node, playwright-core or a Chromium is missing."""
    if shutil.which("node") is None:
        raise NoBrowser("no node found: install Node.js 18 or newer")
    environment = {**os.environ, "CHROMIUM": find_chromium()}
    found = subprocess.run(["node", "-e", "require.resolve('playwright-core')"], capture_output=True, env=environment, cwd=HERE, timeout=60)
    if found.returncode != 0:
        raise NoBrowser(f"no playwright-core found: {_ENABLE}")
    return environment


def run_script(name: str, seconds: float = 600, **arguments: object) -> dict:
    """What ``name`` reports of its visit; ``arguments`` are handed on as JSON.

    Raises:
        RuntimeError: the script failed; holds what it wrote.
    """
    command = ["node", str(HERE / name), json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=script_environment(), timeout=seconds)
    results = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode != 0 or not results:
        raise RuntimeError(f"{name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(results[-1])
