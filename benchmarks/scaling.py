"""Seconds and memory of one training step of the 19B model on 1, 2 and 4 cards of one machine, with NCCL.

    python benchmarks/scaling.py --json benchmarks/results/scaling.json
    python benchmarks/scaling.py --gpus 2 4 --modes ddp fsdp2 --precisions bf16 int8

Every card has the same work in every row, so linear scaling is equal seconds. ``ddp``: the base on every card, the step as
one CUDA graph, gradients summed by DDP, processes agreed on counts and stops as in training. ``fsdp2``: the base shared
out, the blocks' inputs in host memory. Peaks are what PyTorch reserved: the memory of a captured step is in that alone.
Beside what is measured stands what the cost model and the memory plan predict. Without two NVIDIA cards it says so and
exits with 2. ``--rehearse`` runs all of it on a small model, with gloo on the processor where there are no cards.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
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
import torch.distributed as dist  # noqa: E402

from benchmarks.measured import beside, write_record  # noqa: E402
from benchmarks.model_19b import SHAPES, SMALL, TRANSFORMER_19B, adapter, build, inputs  # noqa: E402
from ltx2core.distributed import cost  # noqa: E402
from ltx2core.distributed.fsdp import sharded_engine  # noqa: E402
from ltx2core.distributed.group import joined  # noqa: E402
from ltx2core.distributed.sums import GradientSum  # noqa: E402
from ltx2core.geometry import audio_latent_length, video_tokens  # noqa: E402
from ltx2core.memory.engine import FastEngine, MemorySettings  # noqa: E402
from ltx2core.memory.plan import BaseSize, Load, predict  # noqa: E402
from ltx2core.train.objective import Objective  # noqa: E402
from ltx2core.train.optim import make_optimizer  # noqa: E402
from ltx2core.train.settings import TrainSettings  # noqa: E402

GIB = 2**30
REHEARSED = (1, 9, 64, 64)
GOALS = {"ddp": ("of_linear", 0.95, True), "fsdp2": ("of_peak", 0.6, False)}
_LEAVE_WITHIN = 40  # seconds that torchrun may take to end its processes
_WARM_UP = 3


def settings_of(mode: str, precision: str, cuda: bool) -> MemorySettings:
    if mode == "fsdp2":
        return MemorySettings(precision, compiled=cuda, captured=False, hosted="inputs")
    return MemorySettings(precision, compiled=cuda, captured=cuda)


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def _bus_bandwidth(world, device: torch.device, size: int) -> float:
    """Bytes a second of sums of ``size`` bytes, ten in a row, as NCCL counts: 2 (n-1)/n of them over the wall time."""
    data, times = torch.zeros(size // 2, dtype=torch.bfloat16, device=device), []
    for _ in range(4):
        world.gather(False)
        began = _clock(device)
        for _ in range(10):
            dist.all_reduce(data)
        times.append((_clock(device) - began) / 10)
    return 2 * (world.size - 1) / world.size * size / statistics.median(times[1:])


def _steps(engine, optimizer, gradient, world, device, shape, steps: int) -> tuple[float, float, float]:
    """(seconds a step, of the agreements in it, of the sum in it), medians behind ``_WARM_UP`` steps."""
    share = torch.full((3,), 1 / world.size)
    prepared = [replace(inputs(shape, 100 * world.rank + i), shares=share) for i in range(2)]
    prepared = [p.pin() if device.type == "cuda" else p for p in prepared]
    rows = []
    for i in range(_WARM_UP + steps):
        if i == _WARM_UP and device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        world.gather(False)  # all begin together
        began = _clock(device)
        world.gather(False)
        world.sum_(torch.ones(3, dtype=torch.float64))
        agreed = time.monotonic()
        engine(prepared[i % 2])
        computed = _clock(device)
        gradient.finish()
        summed = _clock(device)
        optimizer.set_rate(1e-5)
        optimizer.step()
        rows.append((_clock(device) - began, agreed - began, summed - computed))
    return tuple(statistics.median(column) for column in zip(*rows[_WARM_UP:], strict=True))


def worker(a: argparse.Namespace) -> None:
    """One process: measures, and the first one writes the row."""
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if a.cuda else torch.device("cpu")
    shape, config = (REHEARSED, SMALL) if a.rehearse else (SHAPES[a.shape], TRANSFORMER_19B)
    with joined(device) as world:
        torch.manual_seed(0)
        model = build(device, a.layers, config=config)
        size = BaseSize.of(model)
        with adapter(model) as lora:
            with torch.no_grad():
                for parameter in lora.parameters.values():
                    parameter.normal_(0, 0.02)
            settings, objective = settings_of(a.mode, a.precision, a.cuda), Objective.of(TrainSettings())
            sharded = a.mode == "fsdp2" and world.size > 1
            engine = sharded_engine(world, settings)(model, objective, device, True) if sharded else FastEngine(model, objective, device, settings)
            optimizer = make_optimizer(lora.parameters.values(), TrainSettings(optimizer="adamw_bf16"))
            gradient = GradientSum(*optimizer.flat(), world, exact=False)
            gc.collect()
            seconds, agreeing, summing = _steps(engine, optimizer, gradient, world, device, shape, a.steps)
            peaks = world.gather((torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)) if a.cuda else (0, 0))
            same = world.gather(float(optimizer.flat()[0].double().sum()))
            gradient_bytes = optimizer.flat()[1].nbytes
            bandwidth = _bus_bandwidth(world, device, gradient_bytes) if world.size > 1 else 0.0
            slowest = max(world.gather(seconds))
        batch, frames, height, width = shape
        tokens = batch * (video_tokens(frames, height, width) + audio_latent_length(frames, 25.0))
        load = Load(tokens, batch, optimizer.flat()[0].numel(), "adamw_bf16")
        row = {
            "mode": a.mode, "precision": a.precision, "gpus": world.size, "shape": "x".join(map(str, shape)), "layers": a.layers, "seconds": round(slowest, 4),
            "agreeing_seconds": round(agreeing, 5), "summing_seconds": round(summing, 5), "gradient_bytes": gradient_bytes, "blocks_bytes": size.blocks * size.block_bytes(a.precision),
            "bus_gb_per_s": round(bandwidth / 1e9, 2), "peak_allocated_gib": round(max(p for p, _ in peaks) / GIB, 2),
            "peak_reserved_gib": round(max(p for _, p in peaks) / GIB, 2),
            "predicted_peak_gib": round(predict(size, load, settings, world.size if sharded else 1).total / GIB, 2), "adapters_equal": len(set(same)) == 1,
        }  # fmt: skip
        if world.rank == 0:
            Path(a.row).write_text(json.dumps(row), encoding="utf-8")


def compared(row: dict, alone: dict) -> dict:
    """``row`` with its ratios to one card's, the goal, and the seconds that the cost model predicts from one card's and the link's bandwidth."""
    cluster = cost.Cluster(1, row["gpus"], cost.Link(max(row["bus_gb_per_s"], 1e-3) * 1e9))
    if row["mode"] == "ddp":
        seconds = cost.ddp_seconds(alone["seconds"], row["gradient_bytes"], cluster)
    else:
        seconds = cost.fsdp_seconds(alone["seconds"], row["blocks_bytes"], row["gradient_bytes"], cluster)
    before = alone["peak_reserved_gib"]  # 0 on a processor, which counts none
    ratios = {"of_linear": round(alone["seconds"] / row["seconds"], 4), "of_peak": round(row["peak_reserved_gib"] / before, 3) if before else None}
    name, goal, above = GOALS[row["mode"]]
    reached = None if ratios[name] is None else ratios[name] >= goal if above else ratios[name] <= goal
    return {**row, "predicted_seconds": round(seconds, 4), **ratios, "goal": f"{name} {'>=' if above else '<='} {goal}", "reached": reached}


def measure(a: argparse.Namespace, mode: str, precision: str, gpus: int) -> dict | None:
    """A row, measured in processes of its own; None when they failed, or took too long and were ended."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "row.json"
        own = ["--worker", "--mode", mode, "--precision", precision, "--shape", a.shape, "--steps", str(a.steps), "--layers", str(a.layers), "--row", str(path)]
        flags = [*(["--rehearse"] if a.rehearse else []), *(["--cuda"] if a.cuda else [])]
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus), str(Path(__file__)), *own, *flags]
        process = subprocess.Popen(command, cwd=ROOT)
        try:
            code = process.wait(a.limit)
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun ends its processes
            process.wait(_LEAVE_WITHIN)
            code = f"no end within {a.limit} s"
        if code or not path.exists():
            print(f"{mode} {precision} on {gpus}: failed ({code})", flush=True)
            return None
        return json.loads(path.read_text(encoding="utf-8"))


def run(a: argparse.Namespace, counts: list[int]) -> int:
    """All rows; what is there so far is written after each. Returns 1 when one failed."""
    rows: list[dict] = []
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if a.cuda else ""
    record = {**beside(), "cards": torch.cuda.device_count(), "nccl": nccl, "rehearsal": a.rehearse, "rows": rows}

    def add(row: dict) -> None:
        rows.append(row)
        print(json.dumps(row), flush=True)
        write_record(a.json, record)

    failed = 0
    for precision in a.precisions:
        alone = measure(a, "ddp", precision, 1)
        if alone is None:
            failed += 1
            continue
        add(alone)
        for mode in a.modes:
            for gpus in counts:
                row = measure(a, mode, precision, gpus)
                failed += row is None
                if row is not None:
                    add(compared(row, alone))
    return 1 if failed else 0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--gpus", nargs="+", type=int, default=[2, 4, 8], help="beside 1, which is always measured first; those that are not there are left out")
    arguments.add_argument("--modes", nargs="+", choices=("ddp", "fsdp2"), default=["ddp", "fsdp2"])
    arguments.add_argument("--precisions", nargs="+", choices=("bf16", "int8", "fp8"), default=["bf16"])
    arguments.add_argument("--shape", choices=SHAPES, default="1x121x512x768")
    arguments.add_argument("--steps", type=int, default=8)
    arguments.add_argument("--layers", type=int, default=48)
    arguments.add_argument("--limit", type=int, default=400, help="seconds for one row; processes that take longer are ended")
    arguments.add_argument("--rehearse", action="store_true")
    for hidden in ("--mode", "--precision", "--row"):
        arguments.add_argument(hidden, help=argparse.SUPPRESS)
    for hidden in ("--worker", "--cuda"):
        arguments.add_argument(hidden, action="store_true", help=argparse.SUPPRESS)
    a = arguments.parse_args()
    if a.worker:
        worker(a)
        return 0
    here = torch.cuda.device_count()
    a.cuda = here >= 2
    if not a.cuda and not a.rehearse:
        print(f"This benchmark needs two or more NVIDIA cards in one machine; here {'is one' if here else 'is none'}.")
        return 2
    if a.rehearse:
        a.layers = SMALL["num_layers"]
    return run(a, [n for n in a.gpus if 1 < n <= (here if a.cuda else 2)])


if __name__ == "__main__":
    sys.exit(main())
