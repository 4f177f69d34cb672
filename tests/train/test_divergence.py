"""The guard on the validation loss, and runs that outlive an update of the pack."""

import json
from contextlib import nullcontext

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ltx2core.errors import LTX2Error
from ltx2core.train.conditioning import ConditioningSettings
from ltx2core.train.loop import train
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.validate import ValidationLoss, divergence


def losses(*pairs):
    return [ValidationLoss(i, v, a, 1.0, 1.0) for i, (v, a) in enumerate(pairs)]


def test_it_compares_with_the_best_before():
    assert divergence(losses((1.0, None), (0.5, None), (0.74, None)), 1.5) is None
    assert "video rose to 0.7600 from 0.5000" in divergence(losses((1.0, None), (0.5, None), (0.76, None)), 1.5)
    assert "audio" in divergence(losses((1.0, 0.1), (0.9, 0.2)), 1.5)
    assert divergence(losses((1.0, 0.1), (9.0, 9.0)), 0.0) is None and divergence(losses((1.0, 1.0)), 1.5) is None
    assert divergence(losses((1.0, None), (float("nan"), None)), 1.5) is not None


@pytest.mark.parametrize("options, learned", [
    ({}, ("video", "audio")), ({"audio_weight": 0.0}, ("video",)), ({"conditioning": ConditioningSettings(frozen_audio=1.0)}, ("video",)),
    ({"conditioning": ConditioningSettings(frozen_video=1.0)}, ("audio",)), ({"conditioning": ConditioningSettings(frozen_audio=0.5)}, ("video", "audio")),
    ({"audio_only": True}, ("audio",)),
])  # fmt: skip
def test_it_looks_at_what_is_learned(options, learned):
    """A stream without a loss may drift: nothing holds it."""
    train = TrainSettings(**options)
    assert train.learned == learned
    for name, values in (("video", ((1.0, 1.0), (9.0, 1.0))), ("audio", ((1.0, 1.0), (1.0, 9.0)))):
        assert (divergence(losses(*values), 1.5, train.learned) is not None) is (name in learned)


def test_a_run_without_the_sound_s_loss_goes_on_whatever_it_becomes(model, make_cache, tmp_path, surroundings, monkeypatch):
    told = iter(losses((1.0, 1.0), (0.9, 9.0), (0.8, 99.0)))
    monkeypatch.setattr("ltx2core.train.session.validation_loss", lambda *a, **k: next(told))
    for weight, ends in ((0.0, True), (1.0, False)):
        told = iter(losses((1.0, 1.0), (0.9, 9.0), (0.8, 99.0)))
        settings = TrainSettings(steps=2, warmup=0, dtype="float32", validate_every=1, divergence_guard=1.5, audio_weight=weight)
        with nullcontext() if ends else pytest.raises(LTX2Error, match="loss of audio rose"):
            train(RunConfig(LoRASettings(rank=2), settings), model, make_cache(tmp_path / "cache"), directory=tmp_path / str(weight), **surroundings)


def test_a_diverging_run_is_saved_and_stopped(model, make_cache, tmp_path, surroundings):
    settings = TrainSettings(steps=40, warmup=0, learning_rate=3.0, max_grad_norm=0.0, dtype="float32", validate_every=2, validation_clips=1, divergence_guard=1.2)
    run = RunConfig(LoRASettings(rank=8, targets=("*.ff.net.2", "*.audio_ff.net.2", "proj_out", "audio_proj_out")), settings)
    with pytest.raises(LTX2Error, match="rose to .* so training stopped at step"):
        train(run, model, make_cache(tmp_path / "cache"), directory=tmp_path / "run", **surroundings)
    assert list((tmp_path / "run").glob("state-*.safetensors"))


def test_a_run_of_an_older_pack_goes_on(model, make_cache, tmp_path, surroundings):
    """Its checkpoint knows nothing of settings that came later; they count as their defaults."""
    cache, settings = make_cache(tmp_path / "cache"), TrainSettings(steps=2, warmup=0, dtype="float32", validation_clips=0)
    train(RunConfig(LoRASettings(rank=2), settings), model, cache, directory=tmp_path / "run", **surroundings)
    [path] = (tmp_path / "run").glob("state-*.safetensors")
    with safe_open(path, framework="pt") as file:
        meta, tensors = json.loads(file.metadata()["ltx2_run"]), {k: file.get_tensor(k).clone() for k in file.keys()}  # noqa: SIM118
    for name in ("ema_decay", "rollout", "tread", "crepa"):
        del meta["facts"]["settings"]["train"][name]
    save_file(tensors, path, metadata={"ltx2_run": json.dumps(meta)})
    longer = TrainSettings(steps=3, warmup=0, dtype="float32", validation_clips=0)
    assert train(RunConfig(LoRASettings(rank=2), longer), model, cache, directory=tmp_path / "run", **surroundings).steps == 3
    with pytest.raises(LTX2Error, match="ema_decay was 0.0"):
        other = TrainSettings(steps=3, warmup=0, dtype="float32", validation_clips=0, ema_decay=0.5)
        train(RunConfig(LoRASettings(rank=2), other), model, cache, directory=tmp_path / "run", **surroundings)
    assert torch.isfinite(next(iter(tensors.values()))).all()
