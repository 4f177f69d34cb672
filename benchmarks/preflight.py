"""Seconds of the preflight for a folder of clips, models in the real layout opened by their headers.

    python benchmarks/preflight.py [--clips 100] [--checkpoint FILE --text-encoder FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def _models(folder: Path, arguments: argparse.Namespace) -> tuple[Path, Path]:
    from ltx2core.tiny import write_tiny_checkpoint
    from ltx2core.tiny_gemma import write_tiny_gemma

    if arguments.checkpoint:
        return Path(arguments.checkpoint), Path(arguments.text_encoder)
    return write_tiny_checkpoint(folder / "tiny.safetensors"), write_tiny_gemma(folder / "gemma.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--checkpoint")
    parser.add_argument("--text-encoder")
    arguments = parser.parse_args()
    started = time.perf_counter()
    from ltx2core.demo_clips import write_demo_clips
    from ltx2core.preflight.check import check_run
    from ltx2core.runfile import read_run

    imported = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint, text_encoder = _models(folder, arguments)
        write_demo_clips(folder / "clips", count=arguments.clips)
        run = {"checkpoint": str(checkpoint), "text_encoder": str(text_encoder), "output": "out", "dataset": {"folder": "clips", "frames": 17}}
        (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
        started, worked = time.perf_counter(), time.process_time()
        result = check_run(read_run(folder / "run.json"))
        seconds, processor = time.perf_counter() - started, time.process_time() - worked
    print(json.dumps({"clips": arguments.clips, "findings": len(result.findings), "import_seconds": round(imported, 2), "check_seconds": round(seconds, 2), "processor_seconds": round(processor, 2)}))


if __name__ == "__main__":
    main()
