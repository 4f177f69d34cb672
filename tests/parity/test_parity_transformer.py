"""Our forward pass and a LoRA's gradients against the official transformer, float32."""

import copy

import pytest
import torch
from official_cases import LORA_ALPHA, LORA_CASE, LORA_RANK, LORA_TARGETS, TRANSFORMER_CASES

from ltx2core.checkpoint.modules import to_diffusers
from ltx2core.models.forward import Modality, denoise
from ltx2core.models.latents import audio_coords, video_coords


@pytest.fixture(scope="module")
def streams(cases):
    def make(name):
        video, audio = cases.transformer_case(name)
        coords = video_coords(cases.BATCH, cases.FRAMES, cases.HEIGHT, cases.WIDTH, cases.FRAME_RATE), audio_coords(cases.BATCH, cases.AUDIO_LENGTH)
        return tuple(Modality(s.tokens, s.sigma, c, s.text, s.timesteps, s.text_mask) for s, c in zip((video, audio), coords, strict=True))

    return make


def test_coordinates(cases, close):
    close(video_coords(1, cases.FRAMES, cases.HEIGHT, cases.WIDTH, cases.FRAME_RATE), "coords.video", 1e-6)
    close(audio_coords(1, cases.AUDIO_LENGTH), "coords.audio", 1e-6)


@pytest.mark.parametrize("name", TRANSFORMER_CASES)
def test_velocities(name, component, streams, close):
    with torch.no_grad():
        video, audio = denoise(component("transformer"), *streams(name))
    close(video, f"transformer.{name}.video")
    close(audio, f"transformer.{name}.audio")


@pytest.mark.parametrize("name", ["i2v", "independent", "s2v"])
@pytest.mark.parametrize("rule", ["cross", "legacy"])
def test_other_rules_are_not_the_official_one(name, rule, component, streams, official):
    with torch.no_grad():
        video, audio = denoise(component("transformer"), *streams(name), av_cross_timestep=rule)
    off = [(ours - official[f"transformer.{name}.{side}"]).abs().max().item() for ours, side in ((video, "video"), (audio, "audio"))]
    assert max(off) > 0.01


def test_one_sigma_per_token_equals_none(component, streams, close):
    video, audio = (s.with_tokens(s.tokens, s.sigma, None) for s in streams("plain"))
    with torch.no_grad():
        video, audio = denoise(component("transformer"), video, audio)
    close(video, "transformer.plain.video")
    close(audio, "transformer.plain.audio")


@pytest.fixture(scope="module")
def adapted(cases, component):
    """A copy of the transformer with a peft LoRA of the fixture's matrices."""
    from peft import LoraConfig, inject_adapter_in_model

    model = copy.deepcopy(component("transformer"))
    shapes = {t: model.get_submodule(to_diffusers(t)).weight.shape for t in LORA_TARGETS}
    config = LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules=[to_diffusers(t) for t in LORA_TARGETS])
    inject_adapter_in_model(config, model)
    with torch.no_grad():
        for target, shape in shapes.items():
            layer = model.get_submodule(to_diffusers(target))
            for ours, theirs in zip((layer.lora_A, layer.lora_B), cases.lora_matrices(target, *shape), strict=True):
                ours["default"].weight.copy_(theirs)
    return model


@pytest.mark.parametrize("checkpointed", [False, True])
def test_lora_gradients(checkpointed, adapted, cases, streams, close, official):
    adapted.zero_grad()
    adapted.gradient_checkpointing = checkpointed
    video, audio = denoise(adapted, *streams(LORA_CASE))
    towards, audio_towards = cases.lora_cotangents()
    ((video * towards).sum() + (audio * audio_towards).sum()).backward()
    close(video, "lora.video")
    close(audio, "lora.audio")
    for target in LORA_TARGETS:
        layer = adapted.get_submodule(to_diffusers(target))
        for matrix, part in ((layer.lora_A, "A"), (layer.lora_B, "B")):
            name, gradient = f"lora.{target}.{part}", matrix["default"].weight.grad
            close(gradient, name)
            assert (gradient - official[name]).norm() <= 1e-4 * official[name].norm(), name


def test_the_lora_matters(official):
    assert (official["lora.video"] - official[f"transformer.{LORA_CASE}.video"]).abs().max() > 0.1
    assert (official["lora.audio"] - official[f"transformer.{LORA_CASE}.audio"]).abs().max() > 0.1
