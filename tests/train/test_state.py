"""Checkpoints: whole or not at all, and never another run's."""

import errno
import json
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.strict import to_plain
from ltx2core.train import state as module
from ltx2core.train.conditioning import Condition, ConditioningSettings
from ltx2core.train.crepa import CrepaSettings
from ltx2core.train.reflexflow import ReflexFlowSettings
from ltx2core.train.retention import Retention
from ltx2core.train.rollout_settings import RolloutSettings
from ltx2core.train.settings import LoRASettings, RunConfig, TimestepSettings, TrainSettings
from ltx2core.train.state import Checkpointer, Facts, TrainState, check_same_run, load_state
from ltx2core.train.tread import TreadRoute


def make(step, seed=0):
    values = torch.Generator().manual_seed(seed)
    tensors = {"adapter.m.lora_A.weight": torch.randn(2, 3, generator=values).bfloat16(), "optimizer.step.m": torch.tensor(float(step))}
    return TrainState(step, tensors, {"epoch": 1, "position": 5}, {"settings": {"a": 1}, "dataset": "d", "base": "b"}, 12.5, 77)


def same(a, b):
    tensors = a.tensors.keys() == b.tensors.keys() and all(torch.equal(a.tensors[k], b.tensors[k]) and a.tensors[k].dtype == b.tensors[k].dtype for k in a.tensors)
    return tensors and (a.step, a.sampler, a.facts, a.seconds, a.peak_bytes) == (b.step, b.sampler, b.facts, b.seconds, b.peak_bytes)


def test_what_is_saved_comes_back(tmp_path):
    path = Checkpointer(tmp_path).save(make(3))
    assert same(load_state(path), make(3)) and same(Checkpointer(tmp_path).newest()[0], make(3))
    assert list(load_state(path).part("adapter")) == ["m.lora_A.weight"]
    assert Checkpointer(tmp_path / "none").newest() == (None, [])


def test_retention(tmp_path):
    for step in range(6):
        Checkpointer(tmp_path, Retention(2)).save(make(step))
    assert [load_state(p).step for p in Checkpointer(tmp_path).paths()] == [5, 4]


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    """The system says so in the middle of the write; half the bytes are there."""
    checkpoints = Checkpointer(tmp_path, Retention(1))
    checkpoints.save(make(1))

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(LTX2Error, match="disk is full"):
        checkpoints.save(make(2))
    assert same(checkpoints.newest()[0], make(1)) and [p.name for p in tmp_path.iterdir()] == ["state-00000001.safetensors"]


def test_what_a_kill_left_is_cleaned(tmp_path):
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(make(1))
    (tmp_path / ".state-00000002.safetensors.abcd1234.tmp").write_bytes(b"half")
    checkpoints.clean()
    assert [p.name for p in tmp_path.iterdir()] == ["state-00000001.safetensors"]


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:20], lambda d: b"", lambda d: b"\xff" * 8 + d[8:]])
def test_a_damaged_newest_is_passed_over_and_named(tmp_path, damage):
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(make(1))
    newest = checkpoints.save(make(2))
    newest.write_bytes(damage(newest.read_bytes()))
    found, messages = checkpoints.newest()
    assert found.step == 1 and len(messages) == 1 and newest.name in messages[0]


EVERY = RunConfig(
    LoRASettings(rank=4),
    TrainSettings(
        timesteps=TimestepSettings("uniform"), conditioning=ConditioningSettings((Condition("prefix", 0.5),)), tread=(TreadRoute(), TreadRoute(0.3, -2, -1)),
        rollout=RolloutSettings(3), reflexflow=ReflexFlowSettings(0.5), crepa=CrepaSettings("dino"),
    ),
)  # fmt: skip


def records(plain, kind=RunConfig):
    """(name, the record's JSON, its class) of every record inside, those in lists too."""
    inside = {"lora": LoRASettings, "train": TrainSettings, "timesteps": TimestepSettings, "conditioning": ConditioningSettings, "conditions": Condition,
              "tread": TreadRoute, "rollout": RolloutSettings, "reflexflow": ReflexFlowSettings, "crepa": CrepaSettings}  # fmt: skip
    for name in plain.keys() & inside.keys():
        for record in plain[name] if isinstance(plain[name], list) else [plain[name]]:
            yield name, record, inside[name]
            yield from records(record, inside[name])


def test_a_setting_that_came_later_counts_as_its_default_wherever_it_stands():
    """Every field at its default is taken out of every record of a checkpoint's facts, one at a time: the run goes on; and with
    another value than the default it does not."""
    facts, tried = Facts.of(EVERY, "d", "b"), {}
    for name, _, kind in records(json.loads(json.dumps(facts.settings))):
        usual = {f.name: to_plain(f.default if f.default is not MISSING else f.default_factory()) for f in fields(kind) if (f.default, f.default_factory) != (MISSING, MISSING)}
        for key in usual:
            saved = json.loads(json.dumps(facts.to_dict()))
            found = [record for place, record, _ in records(saved["settings"]) if place == name and key in record and record[key] == usual[key]]
            for record in found:
                del record[key]
            check_same_run(saved, facts, Path("run"))
            tried.setdefault(name, 0)
            tried[name] += bool(found)
    assert len(tried) == 9 and min(tried.values()) > 0 and sum(tried.values()) > 70
    saved = json.loads(json.dumps(facts.to_dict()))
    del saved["settings"]["train"]["reflexflow"]["alpha"]
    with pytest.raises(LTX2Error, match="train.reflexflow.alpha was 1.0 there and is 0.5 now"):
        check_same_run(saved, facts, Path("run"))


def test_fingerprints_follow_what_changes_the_result():
    def of(dataset="d", base="b", rank=32, **train):
        return Facts.of(RunConfig(LoRASettings(rank=rank), TrainSettings(**train)), dataset, base).fingerprint

    equal = {of(), of(checkpoint_every=1), of(keep_checkpoints=9), of(validate_every=2), of(gradient_checkpointing=False), of(steps=10)}
    different = {of(dataset="x"), of(base="x"), of(rank=4), of(seed=1), of(learning_rate=1.0), of(schedule="cosine"), of(schedule="cosine", steps=10)}
    assert len(equal) == 1 and len(different | equal) == 8
    # CREPA's weight may fall towards the run's end.
    for crepa, longer in ((CrepaSettings("x"), 1), (CrepaSettings("x", schedule="cosine"), 2), (CrepaSettings("x", schedule="cosine", decay_steps=9), 1)):
        assert len({of(crepa=crepa, steps=steps) for steps in (10, 20)}) == longer
