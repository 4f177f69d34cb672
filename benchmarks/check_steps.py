"""Loss and LoRA gradients of every faster path at the real width, in bf16, against float32 and against the plain bf16 step.

    python benchmarks/check_steps.py --json benchmarks/results/check_steps_h200.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from benchmarks.model_19b import SHAPES, adapter, build, inputs  # noqa: E402
from ltx2core.memory.engine import FastEngine, MemorySettings  # noqa: E402
from ltx2core.memory.quantize import dequantised, quantise_block  # noqa: E402
from ltx2core.train.objective import Objective  # noqa: E402
from ltx2core.train.optim import make_optimizer  # noqa: E402
from ltx2core.train.settings import TrainSettings  # noqa: E402
from ltx2core.train.step import EagerEngine  # noqa: E402
from ltx2core.train.tread import TreadRoute  # noqa: E402

LAYERS = 4
PATHS = {
    "bf16": MemorySettings(), "bf16_kept": MemorySettings(kept=LAYERS), "bf16_hosted": MemorySettings(hosted="results", kept=1),
    "int8": MemorySettings("int8"), "streamed_int8": MemorySettings("int8", streamed=LAYERS, slots=2, hosted="inputs"),
    "streamed_bf16": MemorySettings(streamed=LAYERS, slots=2),
}  # fmt: skip
CASES = {
    "audio_video": TrainSettings(), "first_frame": TrainSettings(first_frame_probability=1.0),
    "tread": TrainSettings(tread=(TreadRoute(0.5, 1, -2),)),
}  # fmt: skip


def run(weights: dict, dtype: torch.dtype, make, steps: list) -> list[tuple[float, dict]]:
    """(loss, gradients) of each case; ``make`` takes the model and the objective."""
    device = torch.device("cuda")
    model = build(device, LAYERS, dtype)
    model.load_state_dict(weights)
    results = []
    with adapter(model, dtype=dtype) as lora:
        generator = torch.Generator(device).manual_seed(1)
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, device=device) * 0.5 * parameter.shape[1] ** -0.5)
        make_optimizer(lora.parameters.values(), TrainSettings())
        engine = make(model, Objective.of(CASES["tread"]))
        for step in steps:
            for parameter in lora.parameters.values():
                parameter.grad.zero_()
            loss = engine(step).total.item()
            results.append((loss, {n: p.grad.float().cpu() for n, p in lora.parameters.items()}))
    return results


def error(ours: dict, truth: dict) -> float:
    """Of all gradients together: ||ours - truth|| / ||truth||."""
    difference = sum(((ours[n] - g) ** 2).sum().item() for n, g in truth.items())
    return (difference / sum((g**2).sum().item() for g in truth.values())) ** 0.5


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    a = arguments.parse_args()
    if not torch.cuda.is_available():
        print("This check needs an NVIDIA card; none is here.")
        return 2
    device, shape = torch.device("cuda"), SHAPES["2x17x480x832"]
    cases = {name: inputs(shape, i, train) for i, (name, train) in enumerate(CASES.items())}
    plain_weights = build(device, LAYERS).state_dict()
    rounded = build(device, LAYERS)
    rounded.load_state_dict(plain_weights)
    with torch.no_grad():
        for block in rounded.transformer_blocks:
            for name, weight in dequantised(quantise_block(block, "int8"), torch.bfloat16).items():
                block.get_parameter(name).copy_(weight)
    rows = []
    for base, weights in (("bf16", plain_weights), ("int8", rounded.state_dict())):
        truth = run(weights, torch.float32, lambda m, o: EagerEngine(m, o, device, True), list(cases.values()))
        plain = run(weights, torch.bfloat16, lambda m, o: EagerEngine(m, o, device, True), list(cases.values()))
        results = {"plain": plain}
        for name, settings in PATHS.items():
            if settings.precision == base:
                results[name] = run(plain_weights, torch.bfloat16, lambda m, o, s=settings: FastEngine(m, o, device, s), list(cases.values()))
        for name, found in results.items():
            for case, (loss, gradients), (true_loss, true), (plain_loss, plain_gradients) in zip(cases, found, truth, plain, strict=True):
                rows.append({
                    "base": base, "path": name, "case": case, "loss_error_to_float32": abs(loss / true_loss - 1), "gradient_error_to_float32": error(gradients, true),
                    "loss_error_to_plain_bf16": abs(loss / plain_loss - 1), "gradient_error_to_plain_bf16": error(gradients, plain_gradients),
                })  # fmt: skip
                print(json.dumps(rows[-1]), flush=True)
    if a.json:
        a.json.write_text(json.dumps({"machine": torch.cuda.get_device_name(), "torch": torch.__version__, "layers": LAYERS, "rows": rows}, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
