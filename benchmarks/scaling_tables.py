"""Writes the tables of docs/scaling.md from the cost model, the memory plan and benchmarks/results: python benchmarks/scaling_tables.py"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.model_19b import SHAPES, TRANSFORMER_19B  # noqa: E402
from ltx2core.checkpoint.config import transformer_arguments  # noqa: E402
from ltx2core.distributed import cost  # noqa: E402
from ltx2core.geometry import audio_latent_length, latent_frames, video_tokens  # noqa: E402
from ltx2core.memory.engine import MemorySettings  # noqa: E402
from ltx2core.memory.plan import BaseSize, Load, predict  # noqa: E402

DOCUMENT = ROOT / "docs" / "scaling.md"
RESULTS = ROOT / "benchmarks" / "results"
GIB = 2**30
LONG = "1x121x512x768"
TRAINED = 213_909_504  # values of a LoRA of rank 32 on all attention linears
GRADIENT = 2 * TRAINED  # bytes in bf16
CARDS = 8  # of a machine
MACHINES = {"InfiniBand, 400 Gbit/s a card": cost.INFINIBAND_400, "Ethernet, 100 Gbit/s a machine": cost.ETHERNET_100}


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def measured(profile: str, shape: str) -> float:
    """Seconds a step on one card."""
    rows = json.loads((RESULTS / "train_step_h200.json").read_text(encoding="utf-8"))["rows"]
    return next(r["seconds"] for r in rows if (r["profile"], r["shape"]) == (profile, shape))


def measured_on_cards(mode: str, cards: int) -> float:
    """Seconds a step, bf16, at the long shape."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("scaling*.json"))]
    return next(r["seconds"] for record in records for r in record["rows"] if (r["mode"], r["precision"], r["gpus"], r["shape"]) == (mode, "bf16", cards, LONG))


def tokens(shape: str) -> tuple[int, int]:
    """Of picture and of sound, in one sample."""
    _, frames, height, width = SHAPES[shape]
    return video_tokens(frames, height, width), audio_latent_length(frames, 25.0)


def flops() -> str:
    rows = []
    for shape in SHAPES:
        products = cost.Products.of(*tokens(shape), samples=SHAPES[shape][0])
        row: list[object] = [shape, " + ".join(map(str, tokens(shape))), f"{products.forward / 1e12:.0f}"]
        for profile, part in (("bf16", 1), ("bf16_kept_48", 0)):
            work = cost.step_flops(products, part) / 1e12
            row += [f"{work:.0f}", f"{measured(profile, shape):.3f} s: {work / measured(profile, shape):.0f}" if shape != "1x57x512x768" else "not measured"]
        rows.append(row)
    head = ("batch x frames x height x width", "tokens, picture + sound", "forward, TFLOP", "step, all recomputed", "measured: TFLOP/s", "step, nothing recomputed", "measured: TFLOP/s")
    return table(head, rows)


def base_size() -> BaseSize:
    from diffusers import LTX2VideoTransformer3DModel

    with torch.device("meta"):
        return BaseSize.of(LTX2VideoTransformer3DModel(**transformer_arguments({"transformer": TRANSFORMER_19B})))


def links() -> str:
    """MB that one card sends in a step, and receives."""
    size = base_size()
    rows = []
    for cards in (2, 4, 8):
        gathered = [2 * cost.all_gather_bytes(size.blocks * size.block_bytes(p), cards) for p in ("bf16", "int8")]
        rows.append((cards, *(f"{n / 1e6:,.0f}" for n in (cost.all_reduce_bytes(GRADIENT, cards), *gathered))))
    return table(("cards of a machine", "ddp, MB a card and step", "fsdp2, bf16", "fsdp2, int8"), rows)


def memory() -> str:
    """GiB on each card at the long shape."""
    size, load = base_size(), Load(sum(tokens(LONG)), 1, TRAINED, "adamw_bf16")
    rows = []
    for precision in ("bf16", "int8"):
        alone = predict(size, load, MemorySettings(precision)).total
        shared = [predict(size, load, MemorySettings(precision, hosted="inputs", captured=False), n).total for n in (2, 4, 8)]
        rows.append((precision, f"{alone / GIB:.1f}", *(f"{n / GIB:.1f} ({n / alone:.2f})" for n in shared)))
    return table(("blocks", "one card, ddp", "fsdp2 on 2", "on 4", "on 8"), rows)


def machines_of(cards: int, between: cost.Link) -> cost.Cluster:
    return cost.Cluster(max(1, cards // CARDS), min(cards, CARDS), cost.NVLINK4, between)


def steps() -> str:
    """Seconds and part of linear at the long shape, one clip a card."""
    compute, sharded = measured("bf16_hosted", LONG), measured_on_cards("fsdp2", 2)
    rows = []
    for cards in (1, 2, 4, 8, 16, 64, 256, 512):
        row: list[object] = [cards]
        for link in MACHINES.values():
            seconds = cost.ddp_seconds(compute, GRADIENT, machines_of(cards, link))
            row.append(f"{seconds:.3f} ({cost.efficiency(compute, seconds):.3f})")
        # Inside one machine as measured on two cards, the gathering included; what comes with more machines is DDP's.
        seconds = cost.ddp_seconds(sharded, GRADIENT, machines_of(cards, cost.INFINIBAND_400))
        row.append("" if cards == 1 else f"{seconds:.3f} ({cost.efficiency(compute, seconds):.3f})")
        row += [f"{cost.agreement_seconds(cards) * 1000:.1f}", f"{cards / cost.ddp_seconds(compute, GRADIENT, machines_of(cards, cost.INFINIBAND_400)) * 3600:,.0f}"]
        rows.append(row)
    return table(("cards", *(f"ddp, {name}" for name in MACHINES), "fsdp2 inside machines, InfiniBand", "of that agreements, ms", "clips an hour, ddp"), rows)


def clip_bytes() -> int:
    """Of one cached clip of the long shape: latents of picture and sound, text features of both, all bf16."""
    _, frames, height, width = SHAPES[LONG]
    picture = 128 * latent_frames(frames) * (height // 32) * (width // 32)
    return 2 * (picture + 8 * 16 * audio_latent_length(frames, 25.0) + 2 * 1024 * 3840)


def reading() -> str:
    """What the cards read from the folder that all machines see, when nothing of it is kept in memory."""
    second = clip_bytes() / measured("bf16_hosted", LONG)
    rows = [(cards, f"{cards * second / 1e9:.2f}", f"{max(1, cards // CARDS) * 43 / 1e3:.2f}") for cards in (8, 64, 256, 512)]
    return table(("cards", "clips, GB/s", "the checkpoint once a machine, TB"), rows)


def use() -> str:
    """Part of the passes that have a clip."""
    counts = (8, 64, 256)
    rows = [(clips, *(f"{cost.busy(clips, n):.2f}" for n in counts)) for clips in (30, 256, 1000, 10_000)]
    return table(("clips of a bucket, all in one step", *(f"{n} cards" for n in counts)), rows)


def several_cards() -> str:
    """What benchmarks/scaling.py measured, once it has."""
    rows = []
    for path in sorted(RESULTS.glob("scaling*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        for r in record["rows"]:
            ratios = ("", "") if r["gpus"] == 1 else (f"{r['of_linear']:.3f}", f"{r['of_peak']:.2f}")
            predicted = f"{r['predicted_seconds']:.3f}" if "predicted_seconds" in r else ""
            rows.append((
                record["machine"], r["mode"], r["precision"], r["gpus"], r["shape"], f"{r['seconds']:.3f}", predicted, ratios[0],
                f"{r['peak_reserved_gib']:.1f}", f"{r['predicted_peak_gib']:.1f}", ratios[1], r["bus_gb_per_s"], f"{r['agreeing_seconds'] * 1000:.2f}",
            ))  # fmt: skip
    if not rows:
        return "Not measured yet: no machine with two cards was at hand."
    return table(("card", "mode", "blocks", "cards", "shape", "s a step", "predicted", "of linear", "GiB reserved", "predicted", "of one card's", "bus GB/s", "agreements, ms"), rows)


TABLES: dict[str, Callable[[], str]] = {f.__name__: f for f in (flops, links, memory, steps, reading, use, several_cards)}


def document(text: str) -> str:
    """``text`` with every table made anew between its two marks."""

    def filled(found: re.Match) -> str:
        name = found.group(1)
        return f"<!-- table: {name} -->\n{TABLES[name]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end -->", filled, text, flags=re.DOTALL)


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
