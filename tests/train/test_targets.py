"""The sets of layers, counted on the full-size model's own modules, and that nothing else is touched."""

import re

import pytest
import torch
from torch import nn

from ltx2core.errors import LTX2Error
from ltx2core.train.lora import injected
from ltx2core.train.settings import LoRASettings
from ltx2core.train.targets import PARTS, choose, preset_modules

COUNTS = {"video": 384, "video_ff": 480, "audio": 384, "audio_ff": 480, "cross_modal": 384, "audio_video": 1152, "all_linear": 1344, "audio_only": 480, "ic": 480}
# Trainable parameters at rank 32, in millions, as known for the 19B model.
MILLIONS = {"audio_video": 213.9, "video": 100.7, "video_ff": 163.6, "audio": 50.3, "audio_ff": 81.8, "cross_modal": 62.9, "all_linear": 308.3}
RULES = {
    "video": r"attn[12]\.", "video_ff": r"(attn[12]|ff)\.", "audio": r"audio_attn[12]\.", "audio_ff": r"audio_(attn[12]|ff)\.",
    "cross_modal": r"(audio_to_video|video_to_audio)_attn\.", "audio_video": r"(attn[12]|audio_attn[12]|audio_to_video_attn|video_to_audio_attn)\.",
    "all_linear": r"", "audio_only": r"audio_(attn[12]|ff)\.", "ic": r"(attn[12]|ff)\.",
}  # fmt: skip


@pytest.fixture(scope="module")
def full_model():
    """diffusers' own 48 blocks of LTX-2 19B, without weights."""
    from diffusers import LTX2VideoTransformer3DModel

    with torch.device("meta"):
        return LTX2VideoTransformer3DModel()


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_sets_and_counts(name, full_model):
    linears = {n: m for n, m in full_model.named_modules() if isinstance(m, nn.Linear)}
    expected = {n for n in linears if (hit := re.match(r"transformer_blocks\.\d+\.(.*)", n)) and re.match(RULES[name], hit[1])}
    chosen = preset_modules(name, 48)
    assert len(chosen) == len(set(chosen)) == COUNTS[name] and set(chosen) == expected
    if name in MILLIONS:
        assert sum(32 * (linears[n].in_features + linears[n].out_features) for n in chosen) / 1e6 == pytest.approx(MILLIONS[name], abs=0.06)


def test_auto_follows_the_sound():
    with_sound, without = choose("auto", 2, True), choose("auto", 2, False)
    assert with_sound.modules == preset_modules("audio_video", 2) and without.modules == preset_modules("video", 2)
    assert "audio_video" in with_sound.message and "no clip has sound" in without.message


def test_patterns_match_full_paths_only():
    assert choose(("*.attn1.to_q",), 3, True).modules == tuple(f"transformer_blocks.{i}.attn1.to_q" for i in range(3))
    assert choose(("patchify_proj", "audio_proj_in"), 1, True).modules == ("proj_in", "audio_proj_in")
    with pytest.raises(LTX2Error, match=r"'to_k' matches no linear layer.*\*\.attn1\.to_k"):
        choose(("to_k",), 2, True)


@pytest.mark.parametrize("name", sorted(PARTS))
def test_injection_touches_exactly_the_set(name, model):
    modules = preset_modules(name, 2)
    with injected(model, LoRASettings(rank=2), modules, 0, torch.float32) as lora:
        adapted = {n for n, m in model.named_modules() if hasattr(m, "lora_A")}
        assert adapted == set(modules)
        assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in lora.parameters.values()}
