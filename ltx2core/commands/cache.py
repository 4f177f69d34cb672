"""python -m ltx2core cache RUN.json | verify FOLDER | gc FOLDER | stats FOLDER: fills a cache, or looks after one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LTX2Error

if TYPE_CHECKING:
    from ..cache.upkeep import Kind

ACTIONS = ("verify", "gc", "stats")
_MIB = 2**20


def _counted(kind: Kind, what: str) -> str:
    return f"{kind.entries} {what}, {kind.bytes / _MIB:.1f} MiB"


def _listed(kinds: Mapping[str, Kind]) -> list[str]:
    return [f"  {name}: {_counted(kind, 'entries')}" for name, kind in kinds.items()]


def _stats(arguments: argparse.Namespace, folder: Path) -> int:
    from ..cache.upkeep import stats

    found = stats(folder)
    if arguments.json:
        print(json.dumps(asdict(found), indent=1))
        return 0
    lines = [f"{folder}: {found.manifests} sets.", *_listed(found.kinds), f"  in no set: {_counted(found.unused, 'entries')}"]
    print("\n".join([*lines, f"  half-written: {_counted(found.half_written, 'files')}"]))
    return 0


def _verify(arguments: argparse.Namespace, folder: Path) -> int:
    from ..cache.upkeep import verify
    from ..standalone import ConsoleReporter

    found = verify(folder, ConsoleReporter(quiet=arguments.json))
    if arguments.json:
        damaged, lacking = ({str(p): v for p, v in pairs.items()} for pairs in (found.damaged, found.lacking))
        print(json.dumps({"entries": found.entries, "damaged": damaged, "lacking": lacking}, indent=1, ensure_ascii=False))
    else:
        for line in (*found.damaged.values(), *(f"The set {p.name} lacks {n} entries; cache its dataset again." for p, n in found.lacking.items())):
            print(line)
        print(f"{found.entries} entries were read, {len(found.damaged)} are damaged.")
    return 1 if found.damaged or found.lacking else 0


def _gc(arguments: argparse.Namespace, folder: Path) -> int:
    from ..cache.upkeep import collect

    found = collect(folder, arguments.days, arguments.dry_run)
    if arguments.json:
        print(json.dumps(asdict(found), indent=1))
        return 0
    said = "would be removed" if arguments.dry_run else "were removed"
    lines = [f"{found.bytes / _MIB:.1f} MiB {said}.", *_listed(found.kinds), f"  half-written: {_counted(found.half_written, 'files')}"]
    print("\n".join(lines))
    return 0


_DO = {"stats": _stats, "verify": _verify, "gc": _gc}


def run(arguments: argparse.Namespace, fill: Callable[[argparse.Namespace], None]) -> int:
    """``fill`` carries out a run file's caching."""
    action = arguments.run
    if action not in _DO:
        if arguments.folder is not None:
            raise LTX2Error(f"cache takes a run file alone, or {', '.join(ACTIONS)} and a cache folder, not {action} and {arguments.folder}.")
        fill(arguments)
        return 0
    if arguments.folder is None:
        raise LTX2Error(f"cache {action} needs the cache folder; give it after {action}.")
    return _DO[action](arguments, Path(arguments.folder))


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", nargs="?", help="the cache folder, after verify (read every entry), gc (remove what no set uses) or stats")
    command.add_argument("--days", type=float, default=7.0, help="of gc: leave what was written in the last days; do not run it with 0 while something is cached")
    command.add_argument("--dry-run", action="store_true", help="of gc: only say what would be removed")
    command.add_argument("--json", action="store_true", help="of verify, gc, stats: for programs")
