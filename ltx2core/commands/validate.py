"""python -m ltx2core validate FILE.json: prompts, adapters and seeds side by side."""

from __future__ import annotations

import argparse
from pathlib import Path


def run(arguments: argparse.Namespace) -> None:
    from ..sample.validation_file import read_validation, run_validation
    from ..standalone import ConsoleReporter, PlainResidency, StopFlag

    file = read_validation(Path(arguments.file))
    reporter = ConsoleReporter(Path(arguments.log) if arguments.log else None)
    try:
        result = run_validation(file, residency=PlainResidency(arguments.device), reporter=reporter, stop=StopFlag().install())
    finally:
        reporter.close()
    print(f"{result.made} of {len(result.cells)} cells were made; all are compared in {', '.join(map(str, result.grids))}, and listed in {result.table}.")


def add(commands) -> None:
    command = commands.add_parser("validate", help="make videos of prompts, adapters and seeds side by side, or go on where it stopped")
    command.add_argument("file", help="the validation file, JSON")
    command.add_argument("--device", help="cuda, cpu, mps; the best one by default")
    command.add_argument("--log", help="append every event as a line of JSON to this file")
    command.set_defaults(do=run)
