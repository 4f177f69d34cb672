"""Seconds and memory of one denoising step of the 19B model: both passes of guidance, as ``sample.loop`` makes them.

    python benchmarks/sample_step.py --json benchmarks/results/sample_step.json

The baseline is diffusers' blocks as they are, in the same process; then the written-out blocks, launched kernel by kernel and
replayed. A step's seconds are the card's own, and beside them are those that the processor took to launch it. Without an
NVIDIA card it says so and exits with 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from benchmarks.measured import beside, write_record  # noqa: E402
from benchmarks.model_19b import build  # noqa: E402
from ltx2core.checkpoint.adapter import Adapter  # noqa: E402
from ltx2core.checkpoint.adapter_layers import LoRALayer  # noqa: E402
from ltx2core.geometry import audio_latent_length  # noqa: E402
from ltx2core.memory.passes import forward_passes  # noqa: E402
from ltx2core.memory.sampling import sampling_runner  # noqa: E402
from ltx2core.models.forward import denoise  # noqa: E402
from ltx2core.protocols import Progress  # noqa: E402
from ltx2core.sample.adapters import applied  # noqa: E402
from ltx2core.sample.conditions import audio_state, video_state  # noqa: E402
from ltx2core.sample.loop import Denoiser, run_loop  # noqa: E402
from ltx2core.sample.settings import SampleSettings  # noqa: E402
from ltx2core.sample.sigmas import schedule  # noqa: E402
from ltx2core.text.features import TextFeatures  # noqa: E402
from ltx2core.train.targets import choose  # noqa: E402

GIB = 2**30


def make_adapter(model: torch.nn.Module, rank: int = 32) -> Adapter:
    layers = {}
    for name in choose("audio_video", len(model.transformer_blocks), True).modules:
        layer = model.get_submodule(name)
        layers[name] = LoRALayer(torch.randn(rank, layer.in_features) * 0.01, torch.randn(layer.out_features, rank) * 0.01)
    return Adapter("random", layers, "2.0", {})


def features(seed: int, device: torch.device) -> TextFeatures:
    generator = torch.Generator(device).manual_seed(seed)
    return TextFeatures(*(torch.randn(1, 1024, 3840, device=device, dtype=torch.bfloat16, generator=generator) for _ in range(2)))


class Steps:
    """A reporter that marks where on the card each step ends."""

    def __init__(self) -> None:
        self._marks = [self._mark()]

    @staticmethod
    def _mark() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def progress(self, _: Progress) -> None:
        self._marks.append(self._mark())

    def seconds(self) -> list[float]:
        torch.cuda.synchronize()
        return [first.elapsed_time(second) / 1000 for first, second in pairwise(self._marks)]


def measure(model: torch.nn.Module, frames: int, way: str, adapters: list, steps: int) -> dict:
    """``way``: diffusers' blocks, or the written-out ones launched kernel by kernel or replayed."""
    device = torch.device("cuda")
    settings = SampleSettings(frames=frames, height=512, width=768)
    guidance = settings.guidance()
    noise = torch.randn(1, 128, *settings.latent_size, device=device)
    sound = torch.randn(1, 8, audio_latent_length(frames, settings.frame_rate), 16, device=device)
    with (
        torch.no_grad(), applied(model, adapters, device=device, dtype=torch.bfloat16), sampling_runner(model, way != "diffusers") as run,
        forward_passes(run, device) if way == "replayed" else nullcontext(denoise) as forward,
    ):  # fmt: skip
        denoiser = Denoiser(model, features(1, device), features(2, device), *guidance, (29,), settings.av_cross_timestep, run, forward)
        sigmas = schedule(settings.schedule, settings.steps, settings.tokens)
        video, audio = run_loop(denoiser, video_state(settings, noise), audio_state(sound), sigmas[:3])  # warm-up
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        began, reporter = time.monotonic(), Steps()
        run_loop(denoiser, video, audio, sigmas[2 : 3 + steps], reporter=reporter)
        launched = (time.monotonic() - began) / steps
        each = reporter.seconds()
    return {
        "blocks": way, "frames": frames, "size": "512x768", "adapters": len(adapters), "passes": 2, "seconds_a_step": round(sum(each) / steps, 4),
        "slowest_step": round(max(each), 4), "processor_seconds_a_step": round(launched, 4),
        "peak_allocated_gib": round(torch.cuda.max_memory_allocated() / GIB, 2), "peak_reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
    }  # fmt: skip


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--layers", type=int, default=48)
    arguments.add_argument("--frames", type=int, nargs="+", default=[121])
    arguments.add_argument("--steps", type=int, default=8)
    a = arguments.parse_args()
    if not torch.cuda.is_available():
        print("This benchmark needs an NVIDIA card; none is here.")
        return 2
    model, rows = build(torch.device("cuda"), a.layers), []
    adapter = make_adapter(model)
    for frames in a.frames:
        for way, adapters in (("diffusers", []), ("launched", []), ("launched", [(adapter, 1.0)]), ("replayed", []), ("replayed", [(adapter, 1.0)])):
            rows.append(measure(model, frames, way, adapters, a.steps))
            print(json.dumps(rows[-1]), flush=True)
    write_record(a.json, {**beside(), "layers": a.layers, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
