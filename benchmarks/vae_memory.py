"""What each memory setting of the video VAE costs and saves, with the real layout and random weights.

    python benchmarks/vae_memory.py [--out FILE.json]     (needs a CUDA device)

Prints one row a setting: the peak beside weights and input, seconds, and the largest deviation from the plain run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ltx2core.checkpoint.config import video_vae_arguments  # noqa: E402
from ltx2core.models.vae_memory import Tiling, VaeMemory, decode_pixels, encode_mean  # noqa: E402

# The layout of LTX-2 19B's video VAE.
ENCODER = [
    ["res_x", {"num_layers": 4}], ["compress_space_res", {"multiplier": 2}],
    ["res_x", {"num_layers": 6}], ["compress_time_res", {"multiplier": 2}],
    ["res_x", {"num_layers": 6}], ["compress_all_res", {"multiplier": 2}],
    ["res_x", {"num_layers": 2}], ["compress_all_res", {"multiplier": 2}],
    ["res_x", {"num_layers": 2}],
]  # fmt: skip
UP = ["compress_all", {"residual": True, "multiplier": 2}]
RES = ["res_x", {"num_layers": 5, "inject_noise": False}]
CONFIG = {"vae": {"encoder_blocks": ENCODER, "decoder_blocks": [RES, UP, RES, UP, RES, UP, RES], "timestep_conditioning": False}}

SETTINGS = {
    "plain": VaeMemory(),
    "patch_conv": VaeMemory(patch_conv=True),
    "temporal_roll": VaeMemory(temporal_roll=True),
    "tiling 512/64": VaeMemory(tiling=Tiling(512, 64)),
    "tiling 512/256": VaeMemory(tiling=Tiling(512, 256)),
    "tiling 512/64 + roll": VaeMemory(tiling=Tiling(512, 64), temporal_roll=True),
    "tiling 256/64 + roll": VaeMemory(tiling=Tiling(256, 64), temporal_roll=True),
}
BATCH_SETTINGS = {"batch of 2": VaeMemory(), "slicing": VaeMemory(slicing=True), "slicing + roll": VaeMemory(slicing=True, temporal_roll=True)}
# dtype, clips, frames, height, width, settings
CASES = [
    (torch.bfloat16, 1, 25, 512, 768, SETTINGS),
    (torch.bfloat16, 1, 121, 512, 768, SETTINGS),
    (torch.bfloat16, 1, 121, 704, 1280, SETTINGS),
    (torch.bfloat16, 2, 49, 512, 768, BATCH_SETTINGS),
    (torch.float32, 1, 25, 512, 768, SETTINGS),
]


def build(device: torch.device) -> torch.nn.Module:
    from diffusers import AutoencoderKLLTX2Video

    with torch.device("meta"):
        vae = AutoencoderKLLTX2Video(**video_vae_arguments(CONFIG))
    vae = vae.to_empty(device=device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    for name, tensor in vae.state_dict().items():
        if name.endswith("norm3.weight") or name == "latents_std":
            tensor.fill_(1)
        elif tensor.ndim > 1:
            tensor.normal_(generator=generator).mul_(tensor[0].numel() ** -0.5)
        else:
            tensor.zero_()
    return vae


def measure(function, device: torch.device) -> tuple[torch.Tensor, int, float]:
    """Result, peak bytes beside what was allocated before, seconds."""
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    result = function()
    torch.cuda.synchronize(device)
    return result, torch.cuda.max_memory_allocated(device) - before, time.perf_counter() - started


def run_case(vae, case, device: torch.device) -> list[dict]:
    dtype, clips, frames, height, width, settings = case
    vae.to(dtype)
    generator = torch.Generator(device).manual_seed(1)
    pixels = (torch.rand(clips, 3, frames, height // 16, width // 16, device=device, generator=generator) * 2 - 1).to(dtype)
    pixels = pixels.repeat_interleave(16, 3).repeat_interleave(16, 4)
    latents = torch.randn(clips, 128, (frames - 1) // 8 + 1, height // 32, width // 32, device=device, generator=generator).to(dtype)
    rows = []
    for what, function, source in (("encode", encode_mean, pixels), ("decode", decode_pixels, latents)):
        plain = None
        for name, memory in settings.items():
            row = {"what": what, "dtype": str(dtype)[6:], "clips": clips, "frames": frames, "size": f"{width}x{height}", "setting": name}
            try:
                result, peak, seconds = measure(lambda f=function, s=source, m=memory: f(vae, s, m), device)
            except torch.OutOfMemoryError:
                rows.append({**row, "peak_gib": None})
                torch.cuda.empty_cache()
                continue
            plain = result if plain is None else plain
            off = (result.float() - plain.float()).abs()
            row |= {"peak_gib": peak / 2**30, "seconds": seconds, "largest": off.max().item(), "mean": off.mean().item(), "std": plain.float().std().item()}
            rows.append(row)
            print("| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()) + " |", flush=True)
            del result, off
    return rows


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("This benchmark reads an NVIDIA card's allocator; none is here.")
        return 2
    torch.backends.cudnn.allow_tf32 = False
    device = torch.device("cuda")
    vae = build(device)
    print(torch.cuda.get_device_name(), torch.__version__, f"{sum(p.numel() for p in vae.parameters()) / 1e6:.1f} M weights", flush=True)
    run_case(vae.to(torch.bfloat16), (torch.bfloat16, 1, 9, 64, 64, {"warming up": VaeMemory()}), device)
    rows = []
    for case in CASES:
        rows += run_case(vae, case, device)
        if arguments.out:
            arguments.out.write_text(json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
