"""Loss and LoRA gradients of every faster path at the real width, in bf16, against float32 and against the plain bf16 step.

    python benchmarks/check_steps.py --json benchmarks/results/check_steps_h200.json

Per case: audio-video, silent clips' loss (video alone), first frame given, TREAD, an adapter with dropout, and sound alone.
``--rehearse`` runs all of it on a small model, on the processor where there is no card; without it, and without an NVIDIA card, it says so and exits with 2.
Wheels beside PyTorch: diffusers, transformers, peft, safetensors, lycoris-lora.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from benchmarks.measured import beside, write_record  # noqa: E402
from benchmarks.model_19b import SHAPES, SMALL, TRANSFORMER_19B, adapter, build, inputs  # noqa: E402
from ltx2core.memory.engine import FastEngine, MemorySettings  # noqa: E402
from ltx2core.memory.quantize import dequantised, quantise_block  # noqa: E402
from ltx2core.train.batch import StepInputs  # noqa: E402
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
ROUTED = (TreadRoute(0.5, 1, -2),)
# Each with the objective that an engine is made for: routes are taken where a step has them.
CASES = {
    "audio_video": (TrainSettings(), "both"), "first_frame": (TrainSettings(first_frame_probability=1.0), "both"),
    "tread": (TrainSettings(tread=ROUTED), "both"), "video": (TrainSettings(audio_weight=0.0), "video"), "sound": (TrainSettings(audio_only=True), "sound"),
    "dropout": (TrainSettings(), "dropout"),
}  # fmt: skip
OBJECTIVES = {"both": TrainSettings(tread=ROUTED), "video": TrainSettings(audio_weight=0.0), "sound": TrainSettings(audio_only=True), "dropout": TrainSettings()}
DROPOUT = 0.1
REHEARSED_SHAPE = (2, 9, 64, 96)


@dataclass(frozen=True)
class Check:
    """device and config of the model; steps: of each case, prepared."""

    device: torch.device
    config: dict
    steps: dict[str, StepInputs]

    def run(self, weights: dict, dtype: torch.dtype, make) -> dict[str, tuple[float, dict]]:
        """Case -> (loss, gradients); ``make`` takes the model and the objective, None for one that it cannot serve."""
        found = {}
        for name, objective in OBJECTIVES.items():
            cases = {case: step for case, step in self.steps.items() if CASES[case][1] == name}
            found |= run(self, weights, dtype, lambda m, o=Objective.of(objective): make(m, o), cases, DROPOUT if name == "dropout" else 0.0)
        return found


def run(check: Check, weights: dict, dtype: torch.dtype, make, cases: dict[str, StepInputs], dropout: float) -> dict[str, tuple[float, dict]]:
    device, results = check.device, {}
    model = build(device, LAYERS, dtype, check.config)
    model.load_state_dict(weights)
    with adapter(model, dtype=dtype, dropout=dropout) as lora:
        generator = torch.Generator(device).manual_seed(1)
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, device=device) * 0.5 * parameter.shape[1] ** -0.5)
        make_optimizer(lora.parameters.values(), TrainSettings())
        engine = make(model)
        for case, step in cases.items() if engine else ():
            for parameter in lora.parameters.values():
                parameter.grad.zero_()
            lora.draw_masks(0)
            loss = engine(step).total.item()
            results[case] = (loss, {n: p.grad.to("cpu", torch.float32, copy=True) for n, p in lora.parameters.items()})
    return results


def plain_engine(device: torch.device):
    return lambda model, objective: EagerEngine(model, objective, device, True)


def fast_or_none(device: torch.device, settings: MemorySettings):
    """Sound alone has the plain engine only."""
    return lambda model, objective: None if objective.audio_only else FastEngine(model, objective, device, settings)


def error(ours: dict, truth: dict) -> float:
    """Of all gradients together: ||ours - truth|| / ||truth||."""
    difference = sum(((ours[n] - g) ** 2).sum().item() for n, g in truth.items())
    return (difference / sum((g**2).sum().item() for g in truth.values())) ** 0.5


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    arguments.add_argument("--rehearse", action="store_true")
    a = arguments.parse_args()
    if not torch.cuda.is_available() and not a.rehearse:
        print("This check needs an NVIDIA card; none is here.")
        return 2
    device, shape = torch.device("cuda" if torch.cuda.is_available() else "cpu"), REHEARSED_SHAPE if a.rehearse else SHAPES["2x17x480x832"]
    config = SMALL if a.rehearse else TRANSFORMER_19B
    check = Check(device, config, {name: inputs(shape, i, train) for i, (name, (train, _)) in enumerate(CASES.items())})
    plain_weights = build(device, LAYERS, config=config).state_dict()
    rounded = build(device, LAYERS, config=config)
    rounded.load_state_dict(plain_weights)
    with torch.no_grad():
        for block in rounded.transformer_blocks:
            for name, weight in dequantised(quantise_block(block, "int8"), torch.bfloat16).items():
                block.get_parameter(name).copy_(weight)
    rows: list[dict] = []
    for base, weights in (("bf16", plain_weights), ("int8", rounded.state_dict())):
        paths = {n: PATHS[n] for n in a.paths if PATHS[n].precision == base}
        if not paths:
            continue
        truth = check.run(weights, torch.float32, plain_engine(device))
        plain = check.run(weights, torch.bfloat16, plain_engine(device))
        results = {"plain": plain}
        for name, settings in paths.items():
            results[name] = check.run(plain_weights, torch.bfloat16, fast_or_none(device, settings))
        for name, found in results.items():
            for case, (loss, gradients) in found.items():
                (true_loss, true), (plain_loss, plain_gradients) = truth[case], plain[case]
                rows.append({
                    "base": base, "path": name, "case": case, "loss_error_to_float32": abs(loss / true_loss - 1), "gradient_error_to_float32": error(gradients, true),
                    "loss_error_to_plain_bf16": abs(loss / plain_loss - 1), "gradient_error_to_plain_bf16": error(gradients, plain_gradients),
                })  # fmt: skip
                print(json.dumps(rows[-1]), flush=True)
    worst = max(rows, key=lambda r: r["gradient_error_to_float32"])
    print(f"Furthest from float32: {worst['path']}, {worst['case']}: loss {worst['loss_error_to_float32']:.1e}, gradients {worst['gradient_error_to_float32']:.1e}; the aim is 1e-2.")
    write_record(a.json, {**beside(), "layers": LAYERS, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
