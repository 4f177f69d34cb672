"""python -m ltx2core import-simpletuner CONFIG [MULTIDATABACKEND]: a run file and a canvas workflow from SimpleTuner's files."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path


def _graph_class():
    """The canvas builder lies beside this package, whose own name depends on who loads it."""
    return import_module(f"{__package__.removesuffix('ltx2core.commands')}workflows.graph").Graph


def _given(name: str | None) -> str:
    """A model that lies where the command is given, in full; otherwise the name, which is looked for beside the run file."""
    return "" if not name else str(Path(name).absolute()) if Path(name).exists() else name


def run(arguments: argparse.Namespace) -> None:
    from ..files import write_json
    from ..runfile import read_run
    from ..simpletuner.canvas import canvas_files
    from ..simpletuner.importer import import_files
    from ..simpletuner.model import Given

    given = Given(_given(arguments.checkpoint), _given(arguments.text_encoder))
    imported = import_files(arguments.config, arguments.datasets, root=arguments.root, given=given)
    write_json(arguments.out, imported.run)
    workflow = arguments.workflow or arguments.out.with_name(f"{arguments.out.stem}-canvas.json")
    files, without = canvas_files(read_run(arguments.out), _graph_class(), workflow)
    for path, content in files.items():
        write_json(path, content)
    if arguments.json:
        print(json.dumps({**imported.report.to_dict(), "without_widget": list(without)}, indent=1, ensure_ascii=False))
        return
    print(imported.report)
    if without:
        print("", "On the canvas no widget holds these; the run file does:", *(f"  {line}" for line in without), sep="\n")


def add(commands) -> None:
    command = commands.add_parser("import-simpletuner", help="make a run file and a canvas workflow from SimpleTuner's configuration and datasets")
    command.add_argument("config", type=Path, help="config.json, config.toml, config.env, or a file of --option value")
    command.add_argument("datasets", type=Path, nargs="?", help="multidatabackend.json; by default the one that the configuration names")
    command.add_argument("--out", type=Path, default=Path("run.json"), help="the run file to write (run.json)")
    command.add_argument("--workflow", type=Path, help="the canvas workflow to write (beside the run file, its name with -canvas), and its API form beside it as NAME.api.json")
    command.add_argument("--root", type=Path, help="where relative paths in the configuration start; by default the folder from which it names the datasets' file, else its own")
    command.add_argument("--checkpoint", help="the combined LTX-2 file, where the configuration names another layout")
    command.add_argument("--text-encoder", help="the Gemma3 file or folder")
    command.add_argument("--json", action="store_true", help="the report for programs")
    command.set_defaults(do=run)
