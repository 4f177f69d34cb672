"""500 steps of the tiny model in the numerics that a person gets, against float32: do the loss curves agree?

    python benchmarks/learning.py --json benchmarks/results/learning.json

Runs anywhere, half a minute a row on one core. Every kind sees the same base (its weights are bf16 numbers), the same
adapter at the start and the same batches with the same noise. Compared is the mean loss of each 50 steps.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from benchmarks.measured import beside, write_record  # noqa: E402
from ltx2core.cache.dataset import Sample  # noqa: E402
from ltx2core.checkpoint.combined import open_checkpoint  # noqa: E402
from ltx2core.memory.engine import FastEngine, MemorySettings  # noqa: E402
from ltx2core.models.build import load_transformer  # noqa: E402
from ltx2core.tiny import write_tiny_checkpoint  # noqa: E402
from ltx2core.train.batch import prepare  # noqa: E402
from ltx2core.train.lora import injected  # noqa: E402
from ltx2core.train.objective import Objective  # noqa: E402
from ltx2core.train.optim import make_optimizer, rate_at  # noqa: E402
from ltx2core.train.settings import LoRASettings, TrainSettings  # noqa: E402
from ltx2core.train.step import EagerEngine  # noqa: E402
from ltx2core.train.targets import choose  # noqa: E402

STEPS, WINDOW = 500, 50
TRAIN = TrainSettings(steps=STEPS, warmup=20)
RATES = (1e-3, 1e-4)
# dtype, optimizer, precision of the frozen blocks
KINDS = {
    "float32": (torch.float32, "adamw", None),
    "bf16, float32 master": (torch.bfloat16, "adamw", "bf16"),
    "bf16, stochastic rounding": (torch.bfloat16, "adamw_bf16", "bf16"),
    "int8 base, stochastic rounding": (torch.bfloat16, "adamw_bf16", "int8"),
    "fp8 base, stochastic rounding": (torch.bfloat16, "adamw_bf16", "fp8"),
}


def clips(count: int = 4) -> list[Sample]:
    """Smooth latents with sound, which an adapter can learn."""
    generator = torch.Generator().manual_seed(7)

    def make(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    def smooth(rank: int, *shape: int) -> torch.Tensor:
        return ((make(shape[0], rank) @ make(rank, math.prod(shape[1:]))) / rank**0.5).view(shape).bfloat16()

    return [Sample(str(i), smooth(3, 128, 2, 2, 3), smooth(3, 8, 9, 16), make(16, 64).bfloat16(), make(16, 64).bfloat16(), 25.0, "b") for i in range(count)]


def curve(file: Path, kind: str, rate: float) -> tuple[list[float], float]:
    dtype, optimizer_name, precision = KINDS[kind]
    train, device, samples = replace(TRAIN, optimizer=optimizer_name, learning_rate=rate), torch.device("cpu"), clips()
    model = load_transformer(open_checkpoint(file), dtype=dtype).requires_grad_(False)
    losses, began = [], time.monotonic()
    with injected(model, LoRASettings(rank=8, alpha=8), choose("audio_video", len(model.transformer_blocks), True).modules, 0, dtype) as lora:
        objective = Objective.of(train)
        engine = EagerEngine(model, objective, device, False) if precision is None else FastEngine(model, objective, device, MemorySettings(precision, kept=99, compiled=False))
        optimizer = make_optimizer(lora.parameters.values(), train)
        for step in range(STEPS):
            optimizer.set_rate(rate_at(train, step))
            losses.append(engine(prepare([samples[step % len(samples)]], step, train, dtype)).total)
            optimizer.step()
    return [loss.item() for loss in losses], time.monotonic() - began


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    a = arguments.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = write_tiny_checkpoint(Path(folder) / "tiny.safetensors")
        for rate in RATES:
            truth = None
            for kind in KINDS:
                losses, seconds = curve(file, kind, rate)
                means = torch.tensor(losses, dtype=torch.float64).view(-1, WINDOW).mean(1)
                truth = means if truth is None else truth
                rows.append({
                    "learning_rate": rate, "kind": kind, "largest_difference": ((means - truth).abs() / truth).max().item(),
                    "means": [round(m, 5) for m in means.tolist()], "seconds": round(seconds, 1),
                })  # fmt: skip
                print(json.dumps(rows[-1]), flush=True)
    write_record(a.json, {**beside(), "steps": STEPS, "window": WINDOW, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
