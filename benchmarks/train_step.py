"""Seconds and memory of one training step of the 19B model: forward, backward, clipping, optimizer and data movement.

    python benchmarks/train_step.py --json benchmarks/results/train_step.json
    python benchmarks/train_step.py --profiles plain bf16 int8 --shapes 2x17x480x832

Every profile runs in this one process on fresh random inputs; the plain step (diffusers and peft, eager) is the baseline
of the ratios. Without an NVIDIA card it says so and exits with 2.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from benchmarks.model_19b import FORWARD_TFLOP, SHAPES, adapter, build, inputs  # noqa: E402
from ltx2core.geometry import audio_latent_length, video_tokens  # noqa: E402
from ltx2core.memory.engine import FastEngine, MemorySettings  # noqa: E402
from ltx2core.memory.plan import BaseSize, Load, predict  # noqa: E402
from ltx2core.train.objective import Objective  # noqa: E402
from ltx2core.train.optim import make_optimizer  # noqa: E402
from ltx2core.train.settings import TrainSettings  # noqa: E402
from ltx2core.train.step import EagerEngine  # noqa: E402

PROFILES = {
    "plain": None,
    "compiled": MemorySettings(fused=False),
    "bf16": MemorySettings(),
    "bf16_hosted": MemorySettings(hosted="results"),
    "bf16_hosted_kept_1": MemorySettings(hosted="results", kept=1),
    "bf16_kept_24": MemorySettings(kept=24),
    "bf16_kept_48": MemorySettings(kept=48),
    "int8": MemorySettings("int8"),
    "int8_hosted": MemorySettings("int8", hosted="results"),
    "fp8_hosted": MemorySettings("fp8", hosted="results"),
    "streamed_int8": MemorySettings("int8", streamed=48),
    "streamed_int8_inputs": MemorySettings("int8", streamed=48, hosted="inputs"),
    "streamed_int8_results": MemorySettings("int8", streamed=48, hosted="results"),
    "streamed_bf16": MemorySettings("bf16", streamed=48),
    "streamed_bf16_inputs": MemorySettings("bf16", streamed=48, hosted="inputs"),
}
GIB = 2**30


def time_steps(engine, optimizer, shape, steps: int, warm_up: int) -> tuple[float, float, float]:
    """(seconds a step, first step's seconds, last loss) on the device's clock: ``steps`` one after the other without waiting,
    as a run makes them; inputs are made outside the time, moved inside.
    """
    prepared = [inputs(shape, i).pin() for i in range(3)]
    began, first = time.monotonic(), 0.0
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for i in range(warm_up + steps):
        losses = engine(prepared[i % 3])
        optimizer.set_rate(1e-5)
        optimizer.step()
        if i == 0:
            torch.cuda.synchronize()
            first = time.monotonic() - began
        if i == warm_up - 1:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            start.record()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000 / steps, first, losses.total.item()


def profile_step(engine, shape) -> str:
    """Device time of one step by kernel, the longest first."""
    step = inputs(shape, 0).pin()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as trace:
        engine(step)
        torch.cuda.synchronize()
    return trace.key_averages().table(sort_by="cuda_time_total", row_limit=28, max_name_column_width=90)


def load_of(shape: str, trained: int, optimizer: str) -> Load:
    batch, frames, height, width = SHAPES[shape]
    return Load(batch * (video_tokens(frames, height, width) + audio_latent_length(frames, 25.0)), batch, trained, optimizer)


def measure(profile: str, shape_names: list[str], layers: int, steps: int, optimizer_name: str, traced: bool) -> list[dict]:
    device = torch.device("cuda")
    model = build(device, layers)
    size = BaseSize.of(model)
    train = TrainSettings(optimizer=optimizer_name)
    rows = []
    with adapter(model) as lora:
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.normal_(0, 0.02)
        optimizer = make_optimizer(lora.parameters.values(), train)
        settings = PROFILES[profile]
        trained = sum(p.numel() for p in lora.parameters.values())
        began = time.monotonic()
        engine = EagerEngine(model, Objective.of(train), device, True) if settings is None else FastEngine(model, Objective.of(train), device, settings)
        prepared = time.monotonic() - began
        for name in shape_names:
            gc.collect()
            torch.cuda.empty_cache()
            seconds, first, loss = time_steps(engine, optimizer, SHAPES[name], steps, 3)
            # model_tflops: of 3 forward passes, whatever is recomputed or kept, so that profiles compare; cost.step_flops counts what is run.
            rows.append({
                "profile": profile, "shape": name, "optimizer": optimizer_name, "layers": layers, "seconds": round(seconds, 4), "first_step_seconds": round(first, 1),
                "prepare_seconds": round(prepared, 1), "peak_allocated_gib": round(torch.cuda.max_memory_allocated() / GIB, 2),
                "peak_reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2), "loss": loss,
                "predicted_gib": None if settings is None else round(predict(size, load_of(name, trained, optimizer_name), settings).total / GIB, 2),
                "compiled_forms": torch._dynamo.utils.counters["stats"]["unique_graphs"], "model_tflops": round(3 * FORWARD_TFLOP[name] * layers / 48 / seconds, 1),
            })  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
            if traced:
                print(profile_step(engine, SHAPES[name]), flush=True)
    return rows


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--profiles", nargs="+", choices=PROFILES, default=list(PROFILES))
    arguments.add_argument("--shapes", nargs="+", choices=SHAPES, default=["2x17x480x832", "1x121x512x768"])
    arguments.add_argument("--layers", type=int, default=48)
    arguments.add_argument("--steps", type=int, default=6)
    arguments.add_argument("--optimizer", default="adamw_bf16")
    arguments.add_argument("--until", type=float, default=1e9, help="seconds after which no further profile is begun")
    arguments.add_argument("--trace", nargs="*", default=[], help="profiles whose kernels are listed")
    a = arguments.parse_args()
    if not torch.cuda.is_available():
        print("This benchmark needs an NVIDIA card; none is here.")
        return 2
    began, rows = time.monotonic(), []
    record = {
        "machine": torch.cuda.get_device_name(), "torch": torch.__version__, "python": platform.python_version(), "command": " ".join(sys.argv),
        "rows": rows,
    }  # fmt: skip
    for profile in a.profiles:
        if time.monotonic() - began > a.until:
            print(f"{profile} is left out: the time is over", flush=True)
            continue
        try:
            rows += measure(profile, a.shapes, a.layers, a.steps, a.optimizer, profile in a.trace)
        except torch.OutOfMemoryError as error:
            print(f"{profile}: out of memory: {str(error)[:200]}", flush=True)
        gc.collect()
        torch.cuda.empty_cache()
        plain = {r["shape"]: r["seconds"] for r in rows if r["profile"] == "plain"}
        for row in rows:
            if row["shape"] in plain:
                row["ratio_to_plain"] = round(plain[row["shape"]] / row["seconds"], 2)
        if a.json:
            a.json.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
