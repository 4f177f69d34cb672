"""The plan against what was measured on a card, and against its own promises."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.model_19b import SHAPES, TRANSFORMER_19B
from ltx2core.checkpoint.config import transformer_arguments
from ltx2core.errors import LTX2Error
from ltx2core.geometry import audio_latent_length, video_tokens
from ltx2core.memory.engine import MemorySettings
from ltx2core.memory.plan import GIB, BaseSize, Load, choose, choose_sharded, predict

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "train_step_h200.json"
SETTINGS = {
    "bf16": MemorySettings(), "bf16_hosted": MemorySettings(hosted="results"), "bf16_hosted_kept_1": MemorySettings(hosted="results", kept=1),
    "bf16_kept_48": MemorySettings(kept=48), "int8": MemorySettings("int8"), "streamed_int8": MemorySettings("int8", streamed=48, captured=False),
    "streamed_int8_inputs": MemorySettings("int8", streamed=48, hosted="inputs"), "streamed_bf16": MemorySettings(streamed=48),
}  # fmt: skip


@pytest.fixture(scope="module")
def size():
    from diffusers import LTX2VideoTransformer3DModel

    with torch.device("meta"):
        return BaseSize.of(LTX2VideoTransformer3DModel(**transformer_arguments({"transformer": TRANSFORMER_19B})))


def load(shape):
    batch, frames, height, width = SHAPES[shape]
    return Load(batch * (video_tokens(frames, height, width) + audio_latent_length(frames, 25.0)), batch, 213_909_504, "adamw_bf16")


def measured():
    return [r for r in json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if r["profile"] in SETTINGS]


@pytest.mark.parametrize("row", measured(), ids=lambda r: f"{r['profile']}-{r['shape']}")
def test_prediction_is_within_a_tenth_of_the_measured_peak(size, row):
    plan = predict(size, load(row["shape"]), SETTINGS[row["profile"]])
    assert abs(plan.total / GIB / row["peak_reserved_gib"] - 1) < 0.1, plan


@pytest.mark.parametrize(("gib", "precision", "streamed"), [(139, "bf16", 0), (44, "bf16", 0), (31, "int8", 0), (15, "int8", 24), (11, "int8", 46), (4.9, "int8", 48)])
def test_the_fastest_that_fits(size, gib, precision, streamed):
    plan = choose(size, load("2x17x480x832"), gib * GIB, 100 * GIB)
    assert plan.total <= gib * GIB and (plan.settings.precision, plan.settings.streamed) == (precision, streamed)


def test_steps_that_cannot_be_captured_need_more(size):
    assert choose(size, load("2x17x480x832"), 4.9 * GIB, 100 * GIB).settings.captured
    with pytest.raises(LTX2Error, match="at least 5.1 GiB on the card"):
        choose(size, load("2x17x480x832"), 4.9 * GIB, 100 * GIB, captured=False)
    least = choose(size, load("2x17x480x832"), 5.2 * GIB, 100 * GIB, captured=False)
    assert least.settings == MemorySettings("int8", streamed=48, slots=2, hosted="inputs", captured=False)


def test_what_only_written_out_blocks_can_do_is_not_planned_without_them(size):
    """Nothing waits in host memory then, and the blocks' inputs count on the card."""
    lora = load("1x121x512x768")
    other = replace(lora, written_out=False)
    assert choose(size, lora, 42 * GIB, 200 * GIB).settings.hosted == "results"
    plan = choose(size, other, 44 * GIB, 200 * GIB)
    assert plan.settings == MemorySettings(fused=False) and plan.host == 0 and plan.total > predict(size, lora, MemorySettings(hosted="results")).total
    streamed = MemorySettings("int8", streamed=48, hosted="inputs")
    assert predict(size, other, streamed).settings == MemorySettings("int8", streamed=48, fused=False, captured=False)


def test_nothing_fits_is_said_with_what_to_do(size):
    with pytest.raises(LTX2Error, match="at least 4.* GiB on the card .* Try, in this order: a smaller resolution"):
        choose(size, load("2x17x480x832"), 3 * GIB, 100 * GIB)
    with pytest.raises(LTX2Error, match="of host memory"):
        choose(size, load("2x17x480x832"), 11 * GIB, 4 * GIB)


def test_shared_out_over_cards(size):
    """The blocks' bytes written out; all else as on one card."""
    long, alone = load("1x121x512x768"), MemorySettings(hosted="inputs", captured=False)
    one = predict(size, long, alone)
    for cards in (2, 4, 8):
        plan = predict(size, long, alone, cards)
        strips = 1.35 * 2 * long.trained
        assert one.weights - plan.weights == pytest.approx((size.blocks * size.block + strips) * (1 - 1 / cards) - 2 * size.block, abs=2)
        assert (plan.optimizer, plan.activations, plan.host) == (one.optimizer, one.activations, one.host)
    assert predict(size, long, alone, 2).total < 0.6 * predict(size, long, MemorySettings()).total


def test_the_first_sharded_form_that_fits(size):
    for gib, precision in ((30, "bf16"), (20, "int8")):
        plan = choose_sharded(size, load("2x17x480x832"), 2, gib * GIB, 100 * GIB)
        assert (plan.settings.precision, plan.cards) == (precision, 2) and "shared out over 2 cards" in str(plan)
    with pytest.raises(LTX2Error, match="GiB on each of the 2 cards"):
        choose_sharded(size, load("2x17x480x832"), 2, 8 * GIB, 100 * GIB)
