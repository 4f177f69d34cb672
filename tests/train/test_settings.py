"""Settings are read strictly, and every bad value is one sentence that names it."""

import json

import pytest

from ltx2core.errors import LTX2Error
from ltx2core.train.conditioning import Condition, ConditioningSettings
from ltx2core.train.crepa import CrepaSettings
from ltx2core.train.reflexflow import ReflexFlowSettings
from ltx2core.train.rollout_settings import RolloutSettings
from ltx2core.train.settings import LoRASettings, RunConfig, TimestepSettings, TrainSettings
from ltx2core.train.tread import TreadRoute


def test_defaults_are_the_documented_ones():
    run = RunConfig()
    assert (run.lora.rank, run.lora.alpha, run.lora.dropout, run.lora.targets) == (32, 32, 0.0, "auto")
    t = run.train
    assert (t.steps, t.learning_rate, t.warmup, t.max_grad_norm, t.batch_size, t.accumulation) == (2000, 1e-4, 50, 1.0, 1, 1)
    assert (t.dtype, t.gradient_checkpointing, t.first_frame_probability, t.audio_weight) == ("bf16", True, 0.0, 1.0)
    assert t.timesteps.kind == "shifted_logit_normal" and t.timesteps.uniform_fraction == 0.1


def test_settings_survive_json():
    run = RunConfig(LoRASettings(rank=8, targets=("*.attn1.to_q",)), TrainSettings(timesteps=TimestepSettings("beta", alpha=2.0), audio_weight=0))
    assert RunConfig.from_dict(json.loads(json.dumps(run.to_dict()))) == run


@pytest.mark.parametrize("raw, message", [
    ({"train": {"learning_rat": 1}}, "run.train has no option 'learning_rat'; did you mean 'learning_rate'?"),
    ({"train": {"timesteps": {"knd": "beta"}}}, "run.train.timesteps has no option 'knd'; did you mean 'kind'?"),
    ({"optim": {}}, "run has no option 'optim'"),
    ({"train": 3}, "run.train is int"),
])  # fmt: skip
def test_unknown_options_are_refused(raw, message):
    with pytest.raises(LTX2Error) as error:
        RunConfig.from_dict(raw)
    assert message in str(error.value)


@pytest.mark.parametrize("kind, name, value", [
    (LoRASettings, "rank", 0), (LoRASettings, "rank", 2.5), (LoRASettings, "alpha", 0), (LoRASettings, "dropout", 1.0),
    (LoRASettings, "targets", "videos"), (LoRASettings, "targets", ()), (LoRASettings, "init", "zeros"),
    (TrainSettings, "steps", 0), (TrainSettings, "steps", True), (TrainSettings, "learning_rate", -1e-4), (TrainSettings, "learning_rate", float("nan")),
    (TrainSettings, "learning_rate", "1e-4"), (TrainSettings, "warmup", -1), (TrainSettings, "schedule", "warm"), (TrainSettings, "max_grad_norm", -1),
    (TrainSettings, "batch_size", 0), (TrainSettings, "accumulation", 0), (TrainSettings, "seed", -1), (TrainSettings, "optimizer", "sgd"),
    (TrainSettings, "loss", "l1"), (TrainSettings, "audio_weight", -0.1), (TrainSettings, "first_frame_probability", 1.1),
    (TrainSettings, "caption_dropout", -0.1), (TrainSettings, "keep_checkpoints", 0), (TrainSettings, "dtype", "fp16"),
    (TrainSettings, "av_cross_timestep", "both"), (TimestepSettings, "kind", "normal"), (TimestepSettings, "std", 0), (TimestepSettings, "shift", 0),
    (TimestepSettings, "uniform_fraction", 2),
])  # fmt: skip
def test_bad_values_are_named(kind, name, value):
    with pytest.raises(LTX2Error, match=name) as error:
        kind(**{name: value})
    assert str(error.value).count(". ") == 0 and str(error.value).endswith(".")


def test_every_method_survives_json():
    """As a run file or a checkpoint's facts hold them."""
    settings = TrainSettings(
        tread=(TreadRoute(0.5, 0, 1), TreadRoute(0.25, 2, -1)), crepa=CrepaSettings("folder", schedule="cosine"), rollout=RolloutSettings(3, sampler="dpm", order=2),
        reflexflow=ReflexFlowSettings(2), timesteps=TimestepSettings(offsets=(("*/a/*", -0.5),)), conditioning=ConditioningSettings((Condition("mask", 0.5),)),
    )  # fmt: skip
    run = RunConfig(LoRASettings(kind="lokr", factor=4), settings)
    assert RunConfig.from_dict(json.loads(json.dumps(run.to_dict()))) == run
