"""A whole clip decoded to pictures in a given memory, as the decode node does it: the plan's word beside what was taken.

    python benchmarks/decode_clip.py [--gib 8] [--frames 121] [--size 1280x704] [--json FILE]     (needs a CUDA device)

The allocator is held to --gib, weights of the VAE included. Random weights in the real layout.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from vae_memory import build, measure  # noqa: E402

from benchmarks.measured import beside, write_record  # noqa: E402
from ltx2core.models.decode_plan import GIB, decode_ways  # noqa: E402
from ltx2core.models.video import decode_frames  # noqa: E402
from ltx2core.protocols import Room  # noqa: E402


def one(vae, way, latents, device) -> dict:
    """What a way took; it fails with OutOfMemoryError where it should have fitted."""
    frames, peak, seconds = measure(lambda: decode_frames(vae, latents, way.memory), device)
    m = way.memory
    return {
        "roll": m.temporal_roll, "patch_conv": m.patch_conv, "tile": m.tiling and m.tiling.size, "predicted_gib": way.working / GIB, "peak_gib": peak / GIB,
        "reserved_gib": torch.cuda.max_memory_reserved(device) / GIB, "seconds": seconds, "frames": len(frames),
    }  # fmt: skip


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=8.0)
    parser.add_argument("--frames", type=int, default=121)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("This benchmark holds a CUDA device's allocator to a size; there is none here.")
        return 2
    device = torch.device("cuda", torch.cuda.current_device())
    width, height = map(int, arguments.size.split("x"))
    vae = build(device).to(torch.bfloat16)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(arguments.gib * GIB / torch.cuda.get_device_properties(device).total_memory, device)
    latents = torch.randn(1, 128, (arguments.frames - 1) // 8 + 1, height // 32, width // 32, device=device, generator=torch.Generator(device).manual_seed(1))
    room = round(arguments.gib * GIB) - torch.cuda.memory_allocated(device)
    rows = [one(vae, way, latents, device) for way in decode_ways(vae, arguments.frames, height, width, torch.bfloat16, device, Room(room, room))]
    for row in rows:
        print(json.dumps(row))
    write_record(arguments.json, {**beside(), "gib": arguments.gib, "size": arguments.size, "rows": rows})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
