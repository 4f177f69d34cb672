"""Seconds and memory of one training step of the 19B model on 1, 2 and 4 cards of one machine, with NCCL.

    python benchmarks/scaling.py --json benchmarks/results/scaling.json
    python benchmarks/scaling.py --gpus 1 2 --modes ddp fsdp2 --precisions bf16 int8

Every card has the same work in every row, so linear scaling is equal seconds. ``ddp``: the base on every card, the step as
one CUDA graph, gradients summed by DDP, processes agreed on counts and stops as in training. ``fsdp2``: the base sharded.
Beside what is measured stands what ltx2core/distributed/cost.py predicts. Without two NVIDIA cards it says so and exits
with 2. ``--cpu`` runs it with gloo on one block and a few tokens, to see that it runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.model_19b import SHAPES, adapter, build, inputs  # noqa: E402
from ltx2core.distributed import cost  # noqa: E402
from ltx2core.distributed.fsdp import sharded_engine  # noqa: E402
from ltx2core.distributed.group import joined  # noqa: E402
from ltx2core.distributed.sums import GradientSum  # noqa: E402
from ltx2core.memory.engine import FastEngine, MemorySettings  # noqa: E402
from ltx2core.train.objective import Objective  # noqa: E402
from ltx2core.train.optim import make_optimizer  # noqa: E402
from ltx2core.train.settings import TrainSettings  # noqa: E402

GIB = 2**30
CPU_SHAPE = (1, 9, 64, 64)
GOALS = {"ddp": "0.95 of linear", "fsdp2": "0.6 of one card's peak"}


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def _engine(mode: str, model, device, world, precision: str):
    cuda = device.type == "cuda"
    settings = MemorySettings(precision, compiled=cuda, captured=cuda, fused=cuda)
    objective = Objective.of(TrainSettings())
    if mode == "fsdp2" and world.size > 1:
        return sharded_engine(world, settings)(model, objective, device, True)
    return FastEngine(model, objective, device, settings)


def _bus_bandwidth(world, device: torch.device, size: int) -> float:
    """Bytes a second of a sum of ``size`` bytes, as NCCL counts: 2 (n-1)/n of them over the wall time."""
    data, times = torch.zeros(size // 2, dtype=torch.bfloat16, device=device), []
    for _ in range(6):
        began = _clock(device)
        world.sum_(data)
        times.append(_clock(device) - began)
    return 2 * (world.size - 1) / world.size * size / statistics.median(times[1:])


def _steps(engine, optimizer, gradient, world, device, shape, steps: int) -> tuple[float, float]:
    """(seconds a step, seconds of the agreements and the sum in it), medians behind three steps of warming up."""
    share = torch.full((3,), 1 / world.size)
    prepared = [replace(inputs(shape, 100 * world.rank + i), shares=share) for i in range(2)]
    prepared = [p.pin() if device.type == "cuda" else p for p in prepared]
    times, sums = [], []
    for i in range(3 + steps):
        if i == 3 and device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        world.gather(False)  # all begin together
        began = _clock(device)
        world.gather(False)
        world.sum_(torch.ones(3, dtype=torch.float64))
        engine(prepared[i % 2])
        computed = _clock(device)
        gradient.finish()
        summed = _clock(device)
        optimizer.set_rate(1e-5)
        optimizer.step()
        times.append(_clock(device) - began)
        sums.append(summed - computed)
    return statistics.median(times[3:]), statistics.median(sums[3:])


def worker(a: argparse.Namespace) -> None:
    """One process: measures, and the first one writes the row."""
    device = torch.device("cpu") if a.cpu else torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    shape = CPU_SHAPE if a.cpu else SHAPES[a.shape]
    with joined(device) as world:
        torch.manual_seed(0)
        model = build(device, a.layers)
        block_bytes = sum(p.nbytes for p in model.transformer_blocks.parameters())
        with adapter(model) as lora:
            with torch.no_grad():
                for parameter in lora.parameters.values():
                    parameter.normal_(0, 0.02)
            engine = _engine(a.mode, model, device, world, a.precision)
            optimizer = make_optimizer(lora.parameters.values(), TrainSettings(optimizer="adamw_bf16"))
            gradient = GradientSum(*optimizer.flat(), world, exact=False)
            gc.collect()
            seconds, summing = _steps(engine, optimizer, gradient, world, device, shape, a.steps)
            peaks = world.gather((torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)) if device.type == "cuda" else (0, 0))
            same = world.gather(float(optimizer.flat()[0].double().sum()))
            size = optimizer.flat()[1].nbytes
            bandwidth = _bus_bandwidth(world, device, size) if world.size > 1 else 0.0
            slowest = max(world.gather(seconds))
        row = {
            "mode": a.mode, "precision": a.precision, "gpus": world.size, "shape": a.shape, "layers": a.layers, "seconds": round(slowest, 4),
            "summing_seconds": round(summing, 5), "gradient_bytes": size, "block_bytes": block_bytes, "bus_gb_per_s": round(bandwidth / 1e9, 1),
            "peak_allocated_gib": round(max(p for p, _ in peaks) / GIB, 2), "peak_reserved_gib": round(max(p for _, p in peaks) / GIB, 2),
            "adapters_equal": len(set(same)) == 1,
        }  # fmt: skip
        if world.rank == 0:
            Path(a.row).write_text(json.dumps(row), encoding="utf-8")


def predicted(row: dict, alone: dict) -> dict:
    """By the cost model, from one card's row and the link's bandwidth as it was measured."""
    link = cost.Link(max(row["bus_gb_per_s"], 1e-3) * 1e9)
    cluster = cost.Cluster(1, row["gpus"], link)
    if row["mode"] == "ddp":
        return {"predicted_seconds": round(cost.ddp_seconds(alone["seconds"], row["gradient_bytes"], cluster), 4)}
    half = 1 if row["precision"] == "bf16" else 2
    stored = row["block_bytes"] // half
    peak = cost.fsdp_peak_bytes(alone["peak_allocated_gib"] * GIB, stored, row["layers"], row["gpus"])
    return {
        "predicted_seconds": round(cost.fsdp_seconds(alone["seconds"], stored, row["gradient_bytes"], cluster), 4), "predicted_peak_gib": round(peak / GIB, 2),
    }  # fmt: skip


def measure(a: argparse.Namespace, mode: str, precision: str, gpus: int) -> dict | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "row.json"
        own = ["--worker", "--mode", mode, "--precision", precision, "--shape", a.shape, "--steps", str(a.steps), "--layers", str(a.layers), "--row", str(path)]
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus), str(Path(__file__)), *own, *(["--cpu"] if a.cpu else [])]
        done = subprocess.run(command, cwd=ROOT)
        if done.returncode or not path.exists():
            print(f"{mode} {precision} on {gpus}: failed with {done.returncode}", flush=True)
            return None
        return json.loads(path.read_text(encoding="utf-8"))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--gpus", nargs="+", type=int, help="1 is always measured first; all powers of two that are there by default")
    arguments.add_argument("--modes", nargs="+", choices=("ddp", "fsdp2"), default=["ddp", "fsdp2"])
    arguments.add_argument("--precisions", nargs="+", choices=("bf16", "int8", "fp8"), default=["bf16"])
    arguments.add_argument("--shape", choices=SHAPES, default="1x121x512x768")
    arguments.add_argument("--steps", type=int, default=8)
    arguments.add_argument("--layers", type=int, default=48)
    arguments.add_argument("--cpu", action="store_true")
    arguments.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--mode", help=argparse.SUPPRESS)
    arguments.add_argument("--precision", help=argparse.SUPPRESS)
    arguments.add_argument("--row", help=argparse.SUPPRESS)
    a = arguments.parse_args()
    if a.cpu:
        a.layers = 1
    if a.worker:
        worker(a)
        return 0
    here = 2 if a.cpu else torch.cuda.device_count()
    if here < 2:
        print(f"This benchmark needs two or more NVIDIA cards in one machine; here {'is one' if here else 'is none'}.")
        return 2
    counts = [n for n in (a.gpus or (2, 4, 8)) if 1 < n <= here]
    rows: list[dict] = []
    record = {"machine": "cpu" if a.cpu else torch.cuda.get_device_name(), "torch": torch.__version__, "python": platform.python_version(), "command": " ".join(sys.argv), "rows": rows}
    for precision in a.precisions:
        alone = measure(a, "ddp", precision, 1)
        if alone is None:
            return 1
        rows.append(alone)
        print(json.dumps(alone), flush=True)
        for mode in a.modes:
            for gpus in counts:
                row = measure(a, mode, precision, gpus)
                if row is None:
                    continue
                row |= {"of_linear": round(alone["seconds"] / row["seconds"], 4), "of_peak": round(row["peak_allocated_gib"] / max(alone["peak_allocated_gib"], 1e-9), 3)}
                rows.append(row | predicted(row, alone) | {"goal": GOALS[mode]})
                print(json.dumps(rows[-1]), flush=True)
                if a.json:
                    a.json.parent.mkdir(parents=True, exist_ok=True)
                    a.json.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
