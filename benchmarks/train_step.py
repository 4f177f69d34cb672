"""Seconds and memory of one training step of the 19B model: forward, backward, clipping, optimizer and data movement.

    python benchmarks/train_step.py --json benchmarks/results/train_step.json
    python benchmarks/train_step.py --profiles plain bf16 int8 --shapes 2x17x480x832
    python benchmarks/train_step.py --profiles bf16_hosted --shapes 1x121x512x768 --cases whole tread
    python benchmarks/train_step.py --profiles sound_alone sound_alone_kept --rehearse

Every profile runs in this one process on fresh random inputs; the plain step (diffusers and peft, eager) is the baseline
of the ratios. At the end the plan's predictions stand beside the measured peaks. ``--rehearse`` runs all of it on a small
model, on the processor where there is no card; without it, and without an NVIDIA card, it says so and exits with 2.
Wheels beside PyTorch: diffusers, transformers, peft, safetensors, lycoris-lora.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from benchmarks.measured import beside, write_record  # noqa: E402
from benchmarks.model_19b import FORWARD_TFLOP, SHAPES, SMALL, TRANSFORMER_19B, adapter, build, inputs  # noqa: E402
from ltx2core.geometry import audio_latent_length, video_tokens  # noqa: E402
from ltx2core.memory.engine import FastEngine, MemorySettings  # noqa: E402
from ltx2core.memory.plan import BaseSize, Load, predict  # noqa: E402
from ltx2core.models.audio_branch import keep_sound  # noqa: E402
from ltx2core.train.batch import StepInputs  # noqa: E402
from ltx2core.train.objective import Objective  # noqa: E402
from ltx2core.train.optim import make_optimizer  # noqa: E402
from ltx2core.train.settings import TrainSettings  # noqa: E402
from ltx2core.train.step import EagerEngine  # noqa: E402
from ltx2core.train.tread import TreadRoute  # noqa: E402

PROFILES = {
    "plain": None,
    "compiled": MemorySettings(fused=False),
    "bf16": MemorySettings(),
    "bf16_hosted": MemorySettings(hosted="results"),
    "bf16_hosted_kept_1": MemorySettings(hosted="results", kept=1),
    "bf16_kept_24": MemorySettings(kept=24),
    "bf16_kept_48": MemorySettings(kept=48),
    "int8": MemorySettings("int8"),
    "int8_inputs": MemorySettings("int8", hosted="inputs"),
    "int8_hosted": MemorySettings("int8", hosted="results"),
    "fp8_hosted": MemorySettings("fp8", hosted="results"),
    "streamed_int8": MemorySettings("int8", streamed=48),
    "streamed_int8_inputs": MemorySettings("int8", streamed=48, hosted="inputs"),
    "streamed_int8_results": MemorySettings("int8", streamed=48, hosted="results"),
    "streamed_bf16": MemorySettings("bf16", streamed=48),
    "streamed_bf16_inputs": MemorySettings("bf16", streamed=48, hosted="inputs"),
}
# Sound alone runs as autograd has it: every block recomputed, or kept. Its adapter is on its own layers.
SOUND = {"sound_alone": True, "sound_alone_kept": False}
# whole: all tokens through all blocks. tread: half of the video tokens skip the blocks 2 to -2.
CASES = {"whole": TrainSettings(), "tread": TrainSettings(tread=(TreadRoute(0.5, 2, -2),))}
GIB = 2**30
REHEARSED_SHAPE = (1, 9, 64, 96)


@dataclass(frozen=True)
class Clock:
    """Of a card, or of a processor, where nothing runs ahead and no peak is known."""

    device: torch.device

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def reset(self) -> None:
        self.wait()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peaks(self) -> tuple[int, int]:
        """(allocated, reserved)."""
        return (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()) if self.device.type == "cuda" else (0, 0)


def time_steps(engine, optimizer, prepared: list[StepInputs], steps: int, warm_up: int, clock: Clock) -> tuple[float, float, float]:
    """(seconds a step, first step's seconds, last loss): ``steps`` one after the other without waiting, as a run makes
    them; inputs are made outside the time, moved inside.
    """
    began, first = time.monotonic(), 0.0
    for i in range(warm_up + steps):
        losses = engine(prepared[i % len(prepared)])
        optimizer.set_rate(1e-5)
        optimizer.step()
        if i == 0:
            clock.wait()
            first = time.monotonic() - began
        if i == warm_up - 1:
            clock.reset()
            started = time.monotonic()
    clock.wait()
    return (time.monotonic() - started) / steps, first, losses.total.item()


def profile_step(engine, step: StepInputs) -> str:
    """Device time of one step by kernel, the longest first."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as trace:
        engine(step)
        torch.cuda.synchronize()
    return trace.key_averages().table(sort_by="cuda_time_total", row_limit=28, max_name_column_width=90)


def load_of(shape: tuple[int, int, int, int], trained: int, optimizer: str) -> Load:
    batch, frames, height, width = shape
    return Load(batch * (video_tokens(frames, height, width) + audio_latent_length(frames, 25.0)), batch, trained, optimizer)


@dataclass(frozen=True)
class Bench:
    """What all rows share. config: of the model that is built."""

    clock: Clock
    config: dict
    layers: int
    steps: int
    optimizer: str
    shapes: dict[str, tuple[int, int, int, int]]
    cases: list[str]
    dropout: float

    def row(self, profile: str, case: str, shape: str, seconds: float, first: float, prepared: float, loss: float, predicted: int | None) -> dict:
        allocated, reserved = self.clock.peaks()
        whole = case == "whole" and shape in FORWARD_TFLOP
        # model_tflops: of 3 forward passes, whatever is recomputed or kept, so that profiles compare; cost.step_flops counts what is run.
        return {
            "profile": profile, "case": case, "shape": shape, "optimizer": self.optimizer, "dropout": self.dropout, "layers": self.layers, "seconds": round(seconds, 4),
            "first_step_seconds": round(first, 1), "prepare_seconds": round(prepared, 1), "peak_allocated_gib": round(allocated / GIB, 2),
            "peak_reserved_gib": round(reserved / GIB, 2), "loss": loss, "predicted_gib": None if predicted is None else round(predicted / GIB, 2),
            "compiled_forms": torch._dynamo.utils.counters["stats"]["unique_graphs"],
            "model_tflops": round(3 * FORWARD_TFLOP[shape] * self.layers / 48 / seconds, 1) if whole else None,
        }  # fmt: skip


def measure(profile: str, bench: Bench, traced: bool) -> list[dict]:
    device, sound = bench.clock.device, profile in SOUND
    torch._dynamo.utils.counters["stats"]["unique_graphs"] = 0  # counted for each profile alone
    model, rows = build(device, bench.layers, config=bench.config), []
    size = BaseSize.of(model)
    train = replace(CASES["tread" if "tread" in bench.cases else "whole"], optimizer=bench.optimizer)
    train = TrainSettings(optimizer=bench.optimizer, audio_only=True) if sound else train
    if sound:
        keep_sound(model)
    with adapter(model, targets="audio_only" if sound else "audio_video", dropout=bench.dropout) as lora:
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.normal_(0, 0.02)
        optimizer, settings = make_optimizer(lora.parameters.values(), train), PROFILES.get(profile)
        trained, began = sum(p.numel() for p in lora.parameters.values()), time.monotonic()
        plain = settings is None
        engine = EagerEngine(model, Objective.of(train), device, SOUND.get(profile, True)) if plain else FastEngine(model, Objective.of(train), device, settings)
        prepared = time.monotonic() - began
        for shape, sizes in bench.shapes.items():
            for case in ["sound"] if sound else bench.cases:
                gc.collect()
                bench.clock.reset()
                batches = [inputs(sizes, i, train if sound else CASES[case]) for i in range(3)]
                batches = [b.pin() for b in batches] if device.type == "cuda" else batches
                seconds, first, loss = time_steps(engine, optimizer, batches, bench.steps, 3, bench.clock)
                predicted = None if plain else predict(size, load_of(sizes, trained, bench.optimizer), settings).total
                rows.append(bench.row(profile, case, shape, seconds, first, prepared, loss, predicted))
                print(json.dumps(rows[-1]), flush=True)
                if traced:
                    print(profile_step(engine, batches[0]), flush=True)
    return rows


def predictions(rows: list[dict]) -> str:
    """The plan's bytes beside the measured peaks."""
    found = [r for r in rows if r["predicted_gib"] and r["peak_reserved_gib"]]
    lines = [f"{r['profile']:24}{r['case']:8}{r['shape']:16}{r['predicted_gib']:8.1f}{r['peak_reserved_gib']:10.1f}{r['predicted_gib'] / r['peak_reserved_gib'] - 1:+8.0%}" for r in found]
    within = sum(abs(r["predicted_gib"] / r["peak_reserved_gib"] - 1) <= 0.1 for r in found)
    return "\n".join([f"{'':48}{'planned':>8}{'measured':>10}", *lines, f"{within} of {len(found)} predictions are within a tenth of the measured peak."])


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--profiles", nargs="+", choices=[*PROFILES, *SOUND], default=list(PROFILES))
    arguments.add_argument("--shapes", nargs="+", choices=SHAPES, default=["2x17x480x832", "1x121x512x768"])
    arguments.add_argument("--cases", nargs="+", choices=CASES, default=["whole"])
    arguments.add_argument("--layers", type=int, default=48)
    arguments.add_argument("--steps", type=int, default=6)
    arguments.add_argument("--optimizer", default="adamw_bf16")
    arguments.add_argument("--dropout", type=float, default=0.0, help="of the adapter")
    arguments.add_argument("--until", type=float, default=1e9, help="seconds after which no further profile is begun")
    arguments.add_argument("--trace", nargs="*", default=[], help="profiles whose kernels are listed")
    arguments.add_argument("--rehearse", action="store_true")
    a = arguments.parse_args()
    if not torch.cuda.is_available() and not a.rehearse:
        print("This benchmark needs an NVIDIA card; none is here.")
        return 2
    began, rows, device = time.monotonic(), [], torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shapes = {"rehearsed": REHEARSED_SHAPE} if a.rehearse else {name: SHAPES[name] for name in a.shapes}
    bench = Bench(Clock(device), SMALL if a.rehearse else TRANSFORMER_19B, 4 if a.rehearse else a.layers, a.steps, a.optimizer, shapes, a.cases, a.dropout)
    record = {**beside(), "rows": rows}
    for profile in a.profiles:
        if time.monotonic() - began > a.until:
            print(f"{profile} is left out: the time is over", flush=True)
            continue
        try:
            rows += measure(profile, bench, profile in a.trace)
        except torch.OutOfMemoryError as error:
            print(f"{profile}: out of memory: {str(error)[:200]}", flush=True)
        gc.collect()
        bench.clock.reset()
        plain = {r["shape"]: r["seconds"] for r in rows if r["profile"] == "plain" and r["case"] == "whole"}
        for row in rows:
            if row["shape"] in plain:
                row["ratio_to_plain"] = round(plain[row["shape"]] / row["seconds"], 2)
        write_record(a.json, record)
    print(predictions(rows), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
