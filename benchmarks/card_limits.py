"""What a card multiplies for a moment, and what it holds for a second, when its power or its heat sets the clock.

    python benchmarks/card_limits.py --json benchmarks/results/card_limits_h200.json

Products of random numbers at the sizes of a 121-frame step, attention too, in bf16, each replayed for a second: a step of
training is held, so these rates bound it, not those of a moment. Without an NVIDIA card it says so and exits with 2.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from benchmarks.measured import beside, write_record  # noqa: E402

TOKENS, WIDTH, INNER, HEADS = 6144, 4096, 16384, 32
# rows, inner, columns: a large square one, and the picture's with its adapter's 32 ranks a layer inside.
PRODUCTS = {
    "8192^3": (8192, 8192, 8192), "qkv": (TOKENS, WIDTH + 96, 3 * WIDTH), "qkv, backward": (TOKENS, 3 * WIDTH + 96, WIDTH), "out": (TOKENS, WIDTH + 32, WIDTH),
    "feed-forward in": (TOKENS, WIDTH, INNER), "feed-forward out": (TOKENS, INNER, WIDTH),
}  # fmt: skip
ASKED = "clocks.sm,power.draw,power.limit,temperature.gpu,clocks_throttle_reasons.sw_power_cap"
_aten = torch.ops.aten


def told() -> dict[str, str]:
    """The driver's clock, power and temperature, and whether power holds the clock down; nothing without its tool."""
    if not shutil.which("nvidia-smi"):
        return {}
    found = subprocess.run(["nvidia-smi", f"--query-gpu={ASKED}", "--format=csv,noheader"], capture_output=True, text=True)
    if found.returncode:
        return {"nvidia-smi": found.stdout.strip() or found.stderr.strip()}
    return dict(zip(ASKED.split(","), found.stdout.splitlines()[0].split(", "), strict=True))


def measure(name: str, call: Callable[[], object], flop: float, seconds: float) -> dict:
    call()
    torch.cuda.synchronize()
    graph, calls = torch.cuda.CUDAGraph(), 8
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def rate(replays: int) -> float:
        begin.record()
        for _ in range(replays):
            graph.replay()
        end.record()
        torch.cuda.synchronize()
        return replays * calls * flop / begin.elapsed_time(end) / 1e9

    time.sleep(1.0)  # the one before has warmed the card
    moment, late = rate(1), {}
    watcher = threading.Timer(seconds * 0.8, lambda: late.update(told()))
    watcher.start()
    held = rate(max(1, round(seconds * 1e12 * moment / (calls * flop))))
    watcher.join()
    return {"what": name, "tflops_of_a_moment": round(moment), "tflops_held": round(held), **late}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--seconds", type=float, default=1.0)
    a = arguments.parse_args()
    if not torch.cuda.is_available():
        print("This benchmark needs an NVIDIA card; none is here.")
        return 2
    rows = []

    def row(*what) -> None:
        rows.append(measure(*what, a.seconds))
        print(json.dumps(rows[-1]), flush=True)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

    for name, (m, k, n) in PRODUCTS.items():
        left, right, out = random(m, k), random(k, n), torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
        row(name, lambda x=left, y=right, z=out: torch.mm(x, y, out=z), 2 * m * k * n)
    q = random(1, TOKENS, HEADS, WIDTH // HEADS).transpose(1, 2)
    out, lse, sum_q, sum_k, max_q, max_k, seed, offset, _ = _aten._scaled_dot_product_cudnn_attention(q, q, q, None, True, 0.0, False, False)
    row("attention", lambda: _aten._scaled_dot_product_cudnn_attention(q, q, q, None, True, 0.0, False, False), 4 * TOKENS**2 * WIDTH)
    row(
        "attention, backward",
        lambda: _aten._scaled_dot_product_cudnn_attention_backward(out, q, q, q, out, lse, seed, offset, None, sum_q, sum_k, max_q, max_k, 0.0, False),
        10 * TOKENS**2 * WIDTH,
    )
    write_record(a.json, {**beside(), "seconds": a.seconds, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
