"""python -m ltx2core check RUN.json: what can be known of a run before anything large is loaded."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def _free(arguments: argparse.Namespace):
    import torch

    from ..memory.plan import GIB, free_device_bytes, free_host_bytes
    from ..preflight.space import Free

    device = round(arguments.vram * GIB) if arguments.vram else free_device_bytes(torch.device("cuda")) if torch.cuda.is_available() else None
    return Free(device, round(arguments.ram * GIB) if arguments.ram else free_host_bytes() if device is not None else None)


def run(arguments: argparse.Namespace) -> int:
    from ..preflight.check import check_run
    from ..runspec import read_run

    result = check_run(read_run(Path(arguments.run)), _free(arguments))
    print(json.dumps(result.to_dict(), indent=1, ensure_ascii=False) if arguments.json else result)
    return 1 if result.errors else 0


def add(commands) -> None:
    command = commands.add_parser("check", help="say what is wrong or missing in a run, before anything large is loaded")
    command.add_argument("run", help="the run file, JSON")
    command.add_argument("--json", action="store_true", help="findings for programs")
    command.add_argument("--vram", type=float, help="GiB free on the card; by default this machine's")
    command.add_argument("--ram", type=float, help="GiB of host memory that may be pinned")
    command.set_defaults(do=run)
