"""Predicted working memory against what a device measured."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from ltx2core.models.vae_memory import Tiling, VaeMemory
from ltx2core.models.video import decode_working_bytes, encode_working_bytes

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ROWS = json.loads((BENCHMARKS / "vae_memory.json").read_text(encoding="utf-8"))["rows"]
PREDICT = {"encode": encode_working_bytes, "decode": decode_working_bytes}
GIB = 2**30


@pytest.fixture(scope="module")
def settings():
    spec = importlib.util.spec_from_file_location("vae_memory_benchmark", BENCHMARKS / "vae_memory.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SETTINGS | module.BATCH_SETTINGS


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['what']} {r['dtype']} {r['clips']}x{r['frames']}x{r['size']} {r['setting']}")
def test_enough_and_not_far_too_much(row, settings):
    width, height = map(int, row["size"].split("x"))
    predicted = PREDICT[row["what"]](row["frames"], height, width, getattr(torch, row["dtype"]), settings[row["setting"]], row["clips"]) / GIB
    assert row["peak_gib"] <= predicted <= 1.4 * row["peak_gib"] + 0.6, (predicted, row["peak_gib"])


@pytest.mark.parametrize("predict", PREDICT.values(), ids=PREDICT)
def test_settings_only_ever_save(predict):
    size = (121, 704, 1280)
    plain = predict(*size)
    for memory in (VaeMemory(patch_conv=True), VaeMemory(temporal_roll=True), VaeMemory(tiling=Tiling()), VaeMemory(tiling=Tiling(), temporal_roll=True)):
        assert predict(*size, memory=memory) < plain


def test_a_rolled_encode_does_not_grow_with_the_clip():
    memory = VaeMemory(temporal_roll=True)
    assert encode_working_bytes(49, 512, 768, memory=memory) == encode_working_bytes(481, 512, 768, memory=memory)
