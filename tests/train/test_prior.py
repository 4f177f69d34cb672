"""Regularisation clips: their target is the base's prediction, so a fresh adapter has no loss on them."""

from dataclasses import replace

import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.models.forward import denoise
from ltx2core.train.batch import prepare
from ltx2core.train.crepa import CrepaSettings
from ltx2core.train.loop import train
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.prior import with_prior, without_adapter
from ltx2core.train.reference import References
from ltx2core.train.reflexflow import ReflexFlowSettings
from ltx2core.train.rollout_settings import RolloutSettings
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.step import EagerEngine
from ltx2core.train.targets import preset_modules

KINDS = ("lora", "dora", "lokr", "loha")


@pytest.mark.parametrize("kind", KINDS)
def test_target_is_the_base_s_prediction(kind, model, make_sample):
    inputs = prepare([make_sample(1), make_sample(2)], 0, TrainSettings(), torch.float32)
    with torch.no_grad():
        base = denoise(model, inputs.video.modality(), inputs.audio.modality())
    with injected(model, LoRASettings(rank=2, kind=kind), preset_modules("all_linear", 2), 0, torch.float32) as lora:
        engine = EagerEngine(model, Objective(), torch.device("cpu"), False)
        with torch.no_grad():
            for p in lora.parameters.values():
                p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(0)) * 0.3)
        before = {n: p.detach().clone() for n, p in lora.parameters.items()}
        assert not torch.allclose(engine.predict(inputs)[0], base[0], atol=1e-2)
        changed = with_prior(inputs, torch.tensor([False, True]), lora, engine.predict)
        with without_adapter(lora):
            assert engine.evaluate(changed).video_samples[1] < 1e-8
        assert all(torch.equal(p, before[n]) for n, p in lora.parameters.items())
    for new, old, b in ((changed.video, inputs.video, base[0]), (changed.audio, inputs.audio, base[1])):
        assert torch.equal(new.target[0], old.target[0]) and torch.allclose(new.target[1], b[1], atol=1e-4)


def test_a_run_on_regularisation_alone_stays_at_the_base(model, make_cache, tmp_path, surroundings):
    """With a clip to learn the loss is large; the clips of regularisation bring nothing until the adapter has moved."""
    cache = make_cache(tmp_path / "cache", ({}, {}, {}))
    learn, regular = replace(cache, clips=cache.clips[:1]), replace(cache, clips=cache.clips[1:])
    settings = TrainSettings(steps=6, warmup=0, learning_rate=0.0, dtype="float32", validation_clips=0)
    run = RunConfig(LoRASettings(rank=2), settings)
    result = train(run, model, learn, directory=tmp_path / "run", regularisation=regular, **surroundings)
    losses = sorted(r.loss for r in result.history.steps)
    assert all(loss < 1e-8 for loss in losses[:4]) and all(loss > 0.1 for loss in losses[4:])
    with pytest.raises(LTX2Error, match="regularisation was"):
        train(run, model, learn, directory=tmp_path / "run", **surroundings)


def test_methods_leave_regularisation_at_the_base(model, make_cache, tmp_path, surroundings):
    """ReflexFlow's direction is the base's there, and CREPA draws at the clips to learn alone: nothing of the adapter moves."""
    cache = make_cache(tmp_path / "cache", ({}, {}, {}))
    learn, regular = replace(cache, clips=cache.clips[:1]), replace(cache, clips=cache.clips[1:])
    crepa = CrepaSettings(feature_source="backbone", block_index=0, teacher_block_index=1, weight=5.0)
    methods = {"rollout": RolloutSettings(3, probability=1.0), "reflexflow": ReflexFlowSettings(), "crepa": crepa}
    settings = TrainSettings(steps=6, warmup=0, learning_rate=0.0, dtype="float32", validation_clips=0, **methods)
    result = train(RunConfig(LoRASettings(rank=2, targets="all_linear"), settings), model, learn, directory=tmp_path / "run", regularisation=regular, **surroundings)
    gradients = sorted(r.gradient_norm for r in result.history.steps)
    assert all(g < 1e-4 for g in gradients[:4]) and all(g > 0.1 for g in gradients[4:])


def test_what_cannot_be_joined_is_named(model, make_cache, tmp_path, surroundings):
    cache, other = make_cache(tmp_path / "a", ({},)), make_cache(tmp_path / "b", ({},))
    run = RunConfig(LoRASettings(rank=2), TrainSettings(steps=1, dtype="float32"))
    with pytest.raises(LTX2Error, match="cache both in one folder"):
        train(run, model, cache, directory=tmp_path / "run", regularisation=other, **surroundings)
    with pytest.raises(LTX2Error, match="cannot be used in one run"):
        train(run, model, cache, directory=tmp_path / "run", regularisation=cache, references=References(cache), **surroundings)
