"""Sound alone: the numbers of the whole model whose picture is cut off, and nothing of the picture computed."""

from dataclasses import replace

import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.models.forward import denoise
from ltx2core.train.audio_only import denoise_audio
from ltx2core.train.batch import prepare
from ltx2core.train.conditioning import ConditioningSettings
from ltx2core.train.loop import train
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.step import EagerEngine
from ltx2core.train.targets import choose, preset_modules
from ltx2core.train.tread import TreadRoute

SETTINGS = TrainSettings(audio_only=True, dtype="float32", warmup=0, steps=3, validation_clips=1)


@pytest.mark.parametrize("per_token", [False, True])
def test_the_whole_model_without_its_picture_says_the_same(per_token, model, make_sample):
    for block in model.transformer_blocks:
        for p in block.video_to_audio_attn.to_out[0].parameters():
            p.data.zero_()
    inputs = prepare([make_sample(1), make_sample(2)], 0, TrainSettings(), torch.float32)
    audio = inputs.audio.modality()
    if per_token:
        audio = replace(audio, timesteps=torch.rand(2, audio.tokens.shape[1], generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        whole = denoise(model, inputs.video.modality(), audio)[1]
        alone = denoise_audio(model, audio)
    assert torch.allclose(alone, whole, atol=1e-5) and whole.std() > 0.1


def test_no_layer_of_the_picture_is_called(model, make_sample):
    called = set()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda m, i, o, name=name: called.add(name))
    inputs = prepare([make_sample(1)], 0, SETTINGS, torch.float32)
    EagerEngine(model, Objective.of(SETTINGS), torch.device("cpu"), False).evaluate(inputs)
    assert called and all("audio" in n and "to_video" not in n and "video_to" not in n for n in called)
    per_block = {n.split(".", 2)[2] for n in called if n.startswith("transformer_blocks.")}
    assert per_block == {f"audio_attn{i}.{p}" for i in (1, 2) for p in ("to_q", "to_k", "to_v", "to_out.0")} | {"audio_ff.net.0.proj", "audio_ff.net.2"}


def test_the_video_in_a_batch_is_one_zero_cell_a_frame(make_sample):
    inputs = prepare([make_sample(1, frames=4, height=3, width=2)], 0, SETTINGS, torch.float32)
    assert inputs.video.tokens.shape[1] == 4 and not inputs.video.mask.any() and inputs.audio.mask.all()
    assert torch.allclose(inputs.video.tokens / inputs.video.sigma, inputs.video.target)  # zeros, noised


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_formula(checkpointing, model, make_sample):
    inputs = prepare([make_sample(1)], 0, SETTINGS, torch.float32)
    with injected(model, LoRASettings(rank=2), preset_modules("audio_only", 2), 0, torch.float32) as lora:
        losses = EagerEngine(model, Objective.of(SETTINGS), torch.device("cpu"), checkpointing)(inputs)
        prediction = denoise_audio(model, inputs.audio.modality())
        expected = (prediction - inputs.audio.target).pow(2).mean()
        gradients = torch.autograd.grad(expected, list(lora.parameters.values()))
        assert losses.total.item() == pytest.approx(expected.item(), rel=1e-6) and losses.video == 0
        for p, g in zip(lora.parameters.values(), gradients, strict=True):
            assert torch.allclose(p.grad, g, atol=1e-6)


def test_a_run_learns_sound_and_logs_it_alone(model, make_cache, tmp_path, surroundings):
    cache = make_cache(tmp_path / "cache", ({}, {}))
    result = train(RunConfig(LoRASettings(rank=2), SETTINGS), model, cache, directory=tmp_path / "run", **surroundings)
    assert {m.split(".")[2] for m in result.adapter.layers} == {"audio_attn1", "audio_attn2", "audio_ff"}
    assert all(r.video is None and r.loss == pytest.approx(r.audio) for r in result.history.steps)
    assert all(v.video is None and v.audio > 0 for v in result.validation)


def test_what_does_not_fit_is_named(model, make_cache, tmp_path, surroundings):
    mixed = make_cache(tmp_path / "mixed", ({}, {"audio": False}))
    with pytest.raises(LTX2Error, match="1.mp4 has none"):
        train(RunConfig(LoRASettings(rank=2), SETTINGS), model, mixed, directory=tmp_path / "a", **surroundings)
    whole = make_cache(tmp_path / "whole", ({},))
    with pytest.raises(LTX2Error, match="never reaches transformer_blocks.0.attn1.to_q"):
        train(RunConfig(LoRASettings(rank=2, targets="video"), SETTINGS), model, whole, directory=tmp_path / "b", **surroundings)
    for options, name in (({"tread": (TreadRoute(),)}, "tread"), ({"first_frame_probability": 0.5}, "conditions"), ({"audio_weight": 0}, "audio_weight"),
                          ({"conditioning": ConditioningSettings(frozen_audio=1.0)}, "frozen_audio")):  # fmt: skip
        with pytest.raises(LTX2Error, match=name):
            TrainSettings(audio_only=True, **options)


def test_auto_targets():
    assert choose("auto", 2, True, True).modules == preset_modules("audio_only", 2)
