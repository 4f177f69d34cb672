"""python -m ltx2core presets [NAME]: settings for a purpose, with their sources or as a piece of a run file."""

from __future__ import annotations

import argparse
import json


def run(arguments: argparse.Namespace) -> None:
    from ..presets import NAMES, preset

    if arguments.name is None:
        print("\n".join(f"{name}: {preset(name).describes}" for name in NAMES))
    elif arguments.json:
        print(json.dumps(preset(arguments.name).to_dict(), indent=1))
    else:
        print(preset(arguments.name).report())


def add(commands) -> None:
    command = commands.add_parser("presets", help="settings for a subject, a style, a motion or a voice, each with its source")
    command.add_argument("name", nargs="?", help="a preset; without it all are listed")
    command.add_argument("--json", action="store_true", help="the lora and train parts of a run file")
    command.set_defaults(do=run)
