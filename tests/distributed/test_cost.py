"""The cost model against counted FLOPs, measured steps, and what the page says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.model_19b import FORWARD_TFLOP, SHAPES, TRANSFORMER_19B
from ltx2core.distributed import cost
from ltx2core.geometry import audio_latent_length, video_tokens

ROOT = Path(__file__).resolve().parents[2]
ROWS = {(r["profile"], r["shape"]): r for r in json.loads((ROOT / "benchmarks" / "results" / "train_step_h200.json").read_text(encoding="utf-8"))["rows"]}
LONG = "1x121x512x768"


def tokens(shape):
    batch, frames, height, width = SHAPES[shape]
    return {"video_tokens": video_tokens(frames, height, width), "audio_tokens": audio_latent_length(frames, 25.0), "samples": batch}


@pytest.mark.parametrize("shape", SHAPES)
def test_flops_of_the_shapes_that_were_counted(shape):
    assert cost.Products.of(**tokens(shape)).forward / 1e12 == pytest.approx(FORWARD_TFLOP[shape], rel=0.03)


def test_flops_of_a_block_as_torch_counts_them():
    from diffusers import LTX2VideoTransformer3DModel

    from ltx2core.checkpoint.config import transformer_arguments
    from ltx2core.models.forward import Modality, denoise

    def count(layers):
        with torch.device("meta"):
            model = LTX2VideoTransformer3DModel(**transformer_arguments({"transformer": {**TRANSFORMER_19B, "num_layers": layers}}))

            def modality(n, axes):
                return Modality(torch.empty(1, n, 128), torch.empty(1), torch.empty(1, axes, n, 2), torch.empty(1, 1024, 3840))

            with FlopCounterMode(display=False) as counter, torch.no_grad():
                denoise(model, modality(384, 3), modality(32, 1))
        return counter.get_total_flops()

    block = count(2) - count(1)
    assert cost.Products.of(384, 32, widths=cost.Widths(blocks=1)).forward == pytest.approx(block, rel=0.02)


@pytest.mark.parametrize("shape", ["2x17x480x832", LONG])
def test_measured_steps_run_at_one_rate(shape):
    """Whether blocks are recomputed or kept: the same FLOPs a second must come out."""
    products = cost.Products.of(**tokens(shape))
    recomputed = cost.step_flops(products) / ROWS["bf16", shape]["seconds"]
    kept = cost.step_flops(products, recomputed=0) / ROWS["bf16_kept_48", shape]["seconds"]
    assert kept == pytest.approx(recomputed, rel=0.05)
    assert 0.4e15 < recomputed < 0.99e15  # below the card's data sheet


def test_measured_streaming_is_bytes_over_a_link():
    """Each block comes over PCIe twice a step; where that is the longer part it is the step."""
    short = "2x17x480x832"
    block_bytes = 48 * 2 * 386e6  # bf16, 386 M weights a block
    bandwidth = 2 * block_bytes / ROWS["streamed_bf16", short]["seconds"]
    assert 40e9 < bandwidth < 64e9  # PCIe 5 x16
    predicted = max(ROWS["int8", LONG]["seconds"], block_bytes / bandwidth)
    assert ROWS["streamed_int8", LONG]["seconds"] == pytest.approx(predicted, rel=0.05)


def test_rings_against_a_simulation():
    """Hops and bytes of a ring, counted step by step."""
    size, n, link = 1000, 5, cost.Link(100.0, 0.5)
    part = size / n
    hops = [part / link.bandwidth + link.latency for _ in range(2 * (n - 1))]
    assert cost.all_reduce_seconds(size, n, link) == pytest.approx(sum(hops))
    assert cost.all_gather_seconds(size, n, link) == pytest.approx(sum(hops) / 2)
    assert cost.all_reduce_seconds(size, 1, link) == 0


def test_one_card_pays_nothing():
    alone = cost.Cluster(1, 1, cost.NVLINK4)
    assert cost.ddp_seconds(1.25, 428_000_000, alone) == 1.25
    assert cost.fsdp_peak_bytes(100, 80, 8, 1, waiting=0) == 100


def test_goals_of_two_cards():
    """What benchmarks/scaling.py has to show: 0.95 of linear with DDP, 0.6 of one card's memory with FSDP2."""
    row, gib = ROWS["bf16", LONG], 2**30
    two = cost.Cluster(1, 2, cost.NVLINK4)
    assert cost.efficiency(row["seconds"], cost.ddp_seconds(row["seconds"], 2 * 213_900_000, two)) > 0.99
    assert cost.fsdp_peak_bytes(row["peak_allocated_gib"] * gib, 48 * 2 * 386e6, 48, 2) < 0.6 * row["peak_allocated_gib"] * gib


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="two cards are here")
def test_the_benchmark_says_what_it_needs():
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "scaling.py")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "needs two or more NVIDIA cards" in done.stdout
