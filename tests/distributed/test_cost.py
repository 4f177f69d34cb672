"""The cost model against counted FLOPs, measured steps, and what the page says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop, sdpa_flop

from benchmarks.model_19b import FORWARD_TFLOP, SHAPES, SMALL, TRANSFORMER_19B, adapter, build, inputs
from ltx2core.distributed import cost
from ltx2core.distributed.split import passes
from ltx2core.geometry import audio_latent_length, video_tokens
from ltx2core.memory.engine import FastEngine, MemorySettings
from ltx2core.train.objective import Objective
from ltx2core.train.settings import TrainSettings

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


@pytest.mark.parametrize("kept", [False, True])
def test_flops_of_a_step_as_torch_counts_them(kept):
    """Of the written-out blocks. torch counts no attention on a processor, so the weights' products are compared."""

    def count(layers, rank):
        model = build(torch.device("cpu"), layers, config=SMALL)
        with adapter(model, rank) as lora, FlopCounterMode(display=False) as counter:
            settings = MemorySettings(compiled=False, captured=False, kept=layers if kept else 0)
            FastEngine(model, Objective.of(TrainSettings()), torch.device("cpu"), settings)(inputs((1, 9, 128, 128)))
            assert lora.parameters
        return counter.get_total_flops()

    def without_adapter(layers):  # whose products grow with its rank
        return 2 * count(layers, 4) - count(layers, 8)

    block = without_adapter(2) - without_adapter(1)
    widths = cost.Widths(SMALL["cross_attention_dim"], SMALL["audio_cross_attention_dim"], SMALL["audio_cross_attention_dim"], blocks=1)
    products = replace(cost.Products.of(video_tokens(9, 128, 128), audio_latent_length(9, 25.0), widths=widths), attention=0)
    assert cost.step_flops(products, recomputed=0 if kept else 1) == pytest.approx(block, rel=0.03)


def test_backward_of_attention_as_torch_counts_it():
    shape = (2, 8, 96, 64)
    forward, backward = sdpa_flop(shape, shape, shape), sdpa_backward_flop(shape, shape, shape, shape)
    only = cost.Products(attention=forward, text=0, down=0, linear=0)
    assert cost.step_flops(only, recomputed=0) == forward + backward


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
    assert cost.all_reduce_seconds(size, 1, link) == cost.agreement_seconds(1) == 0


def test_busy_is_what_the_dealing_gives():
    for clips, processes in ((5, 4), (8, 4), (256, 256), (30, 256), (3, 2)):
        dealt = [passes(clips, 1, rank, processes) for rank in range(processes)]
        assert cost.busy(clips, processes) == clips / sum(len(mine) for mine in dealt)


def test_one_card_pays_nothing():
    alone = cost.Cluster(1, 1, cost.NVLINK4)
    assert cost.ddp_seconds(1.25, 428_000_000, alone) == 1.25


def test_goal_of_two_cards():
    """What benchmarks/scaling.py has to show of DDP; what FSDP2 has to, tests/memory/test_plan.py."""
    seconds, two = ROWS["bf16_hosted", LONG]["seconds"], cost.Cluster(1, 2, cost.NVLINK4)
    assert cost.efficiency(seconds, cost.ddp_seconds(seconds, 2 * 213_900_000, two)) > 0.99
