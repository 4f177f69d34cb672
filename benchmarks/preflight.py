"""Seconds of the preflight for a folder of clips, models in the real layout opened by their headers: the check itself, and the
whole command in a process of its own.

    python benchmarks/preflight.py [--clips 100] [--runs 5] [--checkpoint FILE --text-encoder FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def _models(folder: Path, arguments: argparse.Namespace) -> tuple[Path, Path]:
    from ltx2core.tiny import write_tiny_checkpoint
    from ltx2core.tiny_gemma import write_tiny_gemma

    if arguments.checkpoint:
        return Path(arguments.checkpoint), Path(arguments.text_encoder)
    return write_tiny_checkpoint(folder / "tiny.safetensors"), write_tiny_gemma(folder / "gemma.safetensors")


def _command(run: Path) -> tuple[float, float]:
    """(seconds, processor seconds) of the whole command in a process of its own."""
    started, before = time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, "-m", "ltx2core", "check", str(run)], cwd=ROOT, capture_output=True, text=True)
    if done.stderr.startswith("error"):
        sys.exit(done.stderr)
    after = os.times()
    return time.perf_counter() - started, after.children_user - before.children_user + after.children_system - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--checkpoint")
    parser.add_argument("--text-encoder")
    arguments = parser.parse_args()
    from ltx2core.demo_clips import write_demo_clips
    from ltx2core.preflight.check import check_run
    from ltx2core.runspec import read_run

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint, text_encoder = _models(folder, arguments)
        write_demo_clips(folder / "clips", count=arguments.clips)
        run = {"checkpoint": str(checkpoint), "text_encoder": str(text_encoder), "output": "out", "dataset": {"folder": "clips", "frames": 17}}
        (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
        started, worked = time.perf_counter(), time.process_time()
        result = check_run(read_run(folder / "run.json"))
        seconds, processor = time.perf_counter() - started, time.process_time() - worked
        commands = [_command(folder / "run.json") for _ in range(arguments.runs)]
    print(json.dumps({
        "clips": arguments.clips, "findings": len(result.findings), "check_seconds": round(seconds, 2), "check_processor_seconds": round(processor, 2),
        "command_seconds": [round(s, 2) for s, _ in commands], "command_processor_seconds": [round(p, 2) for _, p in commands],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
