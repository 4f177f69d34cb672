"""Where ComfyUI lies and which Python runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
_SHIM = Path(__file__).resolve().parent / "shim"
ENABLE = "set COMFYUI_PATH to a ComfyUI folder whose .venv has ComfyUI's requirements and this pack's requirements.txt"

# Versions are left to pip: hosts pin some exactly, and newer ones have always worked.
_LOOK = """
import importlib.metadata, json, re, sys
def lacking(path):
    for line in open(path, encoding="utf-8"):
        name = re.match(r"[A-Za-z0-9][\\w.-]*", line.strip())
        if name and ";" not in line:
            try:
                importlib.metadata.distribution(name.group())
            except importlib.metadata.PackageNotFoundError:
                yield name.group()
missing = [n for path in sys.argv[1:] for n in lacking(path)]
gpu = False
if not missing:
    import torch
    gpu = torch.cuda.is_available()
print(json.dumps({"missing": missing, "gpu": gpu}))
"""


class HostError(RuntimeError):
    """The host cannot be started, or a prompt failed; the message says what to do or what it said."""


def find_comfyui() -> Path | None:
    """COMFYUI_PATH, the ComfyUI whose custom_nodes this folder lies in, or ~/comfy/ComfyUI.

    Raises:
        HostError: COMFYUI_PATH is set and is no ComfyUI.
    """
    if named := os.environ.get("COMFYUI_PATH"):
        if not _is_comfyui(Path(named)):
            raise HostError(f"COMFYUI_PATH is {named}, which holds no ComfyUI (no main.py beside a comfy folder); correct or unset it.")
        return Path(named).resolve()
    candidates = [PACK.parent.parent] if PACK.parent.name == "custom_nodes" else []
    return next((c for c in [*candidates, Path.home() / "comfy" / "ComfyUI"] if _is_comfyui(c)), None)


def _is_comfyui(path: Path) -> bool:
    return (path / "main.py").is_file() and (path / "comfy").is_dir()


def host_environment() -> dict[str, str]:
    """For the host's process alone: the shim in front of its path, no look-ups on the network."""
    paths = [str(_SHIM), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1"}


@lru_cache
def _look(python: str, root: Path) -> dict:
    files = [str(root / "requirements.txt"), str(PACK / "requirements.txt")]
    done = subprocess.run([python, "-c", _LOOK, *files], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise HostError(f"{python} does not work ({done.stderr.strip().splitlines()[-1:]}); set COMFYUI_PYTHON to the Python that runs ComfyUI.")
    return json.loads(done.stdout.splitlines()[-1])


def host_python(root: Path) -> str:
    """COMFYUI_PYTHON, else the .venv or venv in the host's folder, else this interpreter.

    Raises:
        HostError: one line that says what to install.
    """
    inside = Path("Scripts", "python.exe") if os.name == "nt" else Path("bin", "python")
    candidates = [os.environ.get("COMFYUI_PYTHON"), *(root / v / inside for v in (".venv", "venv"))]
    python = next((str(c) for c in candidates if c and Path(c).exists()), sys.executable)
    if missing := _look(python, root)["missing"]:
        raise HostError(f"{python} lacks {', '.join(missing)}: run {python} -m pip install -r {root / 'requirements.txt'} -r {PACK / 'requirements.txt'}")
    return python


def has_gpu(root: Path) -> bool:
    return _look(host_python(root), root)["gpu"]
