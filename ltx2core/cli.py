"""python -m ltx2core: the same steps as on the canvas, from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from .commands import adapter, cache, check, import_simpletuner, presets, train_cache, validate
from .errors import LTX2Error
from .protocols import Interrupted


def _inspect(arguments: argparse.Namespace) -> None:
    from .checkpoint.inspect import describe, inspect_checkpoint

    report = inspect_checkpoint(arguments.file)
    print(json.dumps(report, indent=1, ensure_ascii=False) if arguments.json else describe(report))


def _run(arguments: argparse.Namespace) -> None:
    from .distributed.member import membership
    from .runfile import Runner, read_run

    with membership(arguments.device, arguments.log, arguments.stop_file) as (reporter, services):
        runner = Runner(read_run(Path(arguments.run)), reporter=reporter, **services)
        if arguments.command == "cache":
            runner.cache()
        if arguments.command in ("train", "run"):
            result = runner.train()
            reporter.message(f"{runner.adapter_path}: {result.steps} steps in {result.seconds:.0f} s.")
        if arguments.command in ("sample", "run"):
            for path in runner.sample():
                reporter.message(str(path))


def _plan(arguments: argparse.Namespace) -> None:
    from .checkpoint.combined import open_checkpoint
    from .data.mixture import scan_all
    from .memory.engine import MemorySettings
    from .memory.plan import GIB, choose, predict
    from .preflight.space import load_and_size
    from .runspec import read_run
    from .standalone import ConsoleReporter

    run = read_run(Path(arguments.run))
    checkpoint, found = open_checkpoint(run.checkpoint), scan_all(run.specs, ConsoleReporter(quiet=True), run.cache_folder / "scan.sqlite3")
    load, size = load_and_size(run.config, checkpoint, found.indexes)
    alone = run.config.train.audio_only
    print(predict(size, load, MemorySettings()) if alone else choose(size, load, round(arguments.vram * GIB), round(arguments.ram * GIB)))


def _demo(arguments: argparse.Namespace) -> None:
    from .demo import run_demo

    run_demo(Path(arguments.out))


def _tiny(arguments: argparse.Namespace) -> None:
    if arguments.full:
        from .full_size import write_full
        from .standalone import default_device

        checkpoint, text_encoder = write_full(Path(arguments.folder), arguments.gemma == "fp8", default_device())
    else:
        from .tiny_base import write_tiny_models

        checkpoint, text_encoder = write_tiny_models(Path(arguments.folder))
    print(f"{checkpoint}\n{text_encoder}")


_RUNS = {
    "cache": "encode the clips and captions of a run file",
    "train": "cache, then train, or go on with a run that was stopped",
    "sample": "make the videos of a run file with its adapter",
    "run": "cache, train and sample",
}


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="python -m ltx2core", description="Train LTX-2 LoRAs and sample with them.")
    commands = main.add_subparsers(dest="command", required=True)
    inspect = commands.add_parser("inspect", help="say what is in a checkpoint, by its header alone")
    inspect.add_argument("file", type=Path)
    inspect.add_argument("--json", action="store_true", help="for programs")
    inspect.set_defaults(do=_inspect)
    for name, text in _RUNS.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("run", help="the run file, JSON" + (f", or {', '.join(cache.ACTIONS)}" if name == "cache" else ""))
        command.add_argument("--device", help="cuda, cpu, mps; the best one by default")
        command.add_argument("--log", "--events", help="append every event as a line of JSON to this file (--events under torchrun, which has a --log-dir)")
        command.add_argument("--stop-file", help="save and stop once this file is there; for programs, which cannot send Ctrl-C everywhere")
        command.set_defaults(do=_run)
        if name == "cache":
            cache.add_arguments(command)
            command.set_defaults(do=partial(cache.run, fill=_run))
    plan = commands.add_parser("plan", help="say how a run would fit a card, before anything is loaded")
    plan.add_argument("run", help="the run file, JSON")
    plan.add_argument("--vram", type=float, required=True, help="GiB free on the card")
    plan.add_argument("--ram", type=float, required=True, help="GiB of host memory that may be pinned")
    plan.set_defaults(do=_plan)
    import_simpletuner.add(commands)
    check.add(commands)
    demo = commands.add_parser("demo", help="the whole path on made data and tiny models, without ComfyUI")
    demo.add_argument("out", nargs="?", default="demo-out")
    demo.set_defaults(do=_demo)
    tiny = commands.add_parser("tiny", help="write tiny models in the real layout, for tests and tries")
    tiny.add_argument("folder")
    tiny.add_argument("--full", action="store_true", help="random weights at full size instead, for measuring: 40 GiB and Gemma; bytes are told first")
    tiny.add_argument("--gemma", choices=("fp8", "bf16"), default="fp8", help="with --full: 12 or 22 GiB on disk")
    tiny.set_defaults(do=_tiny)
    adapter.add(commands)
    validate.add(commands)
    presets.add(commands)
    train_cache.add(commands)
    return main


def main(argv: list[str] | None = None) -> int:
    """0 when all went well (or what the command found to tell), 1 for an error that is said in one sentence, 130 when stopped by a person."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.do(arguments) or 0
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return 130
    except LTX2Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is imported only where it is used
            raise
        from .memory.exhausted import sentence
        from .standalone import device_named

        print(f"error: {sentence(device_named(getattr(arguments, 'device', None)))}", file=sys.stderr)
        return 1
