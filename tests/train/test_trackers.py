"""Trackers read back by their own libraries, where those are installed; a clear sentence where they are not."""

import json
import struct
import sys
from dataclasses import replace

import pytest

from ltx2core.errors import LTX2Error
from ltx2core.train.loop import train
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.tracking_settings import TrackingSettings

RUN = RunConfig(LoRASettings(rank=2), TrainSettings(steps=5, learning_rate=1e-2, warmup=0, checkpoint_every=0, validate_every=2, validation_clips=1, dtype="float32"))


def told(*trackers):
    return replace(RUN, train=replace(RUN.train, tracking=TrackingSettings(trackers, project="foxes")))


@pytest.fixture
def go(model, make_cache, tmp_path, surroundings):
    cache = make_cache(tmp_path / "cache")
    return lambda run, until=None, name="run": train(run, model, cache, directory=tmp_path / name, name="fox", until=until, **surroundings)


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_one_that_is_not_installed_is_said_before_anything_is_trained(go, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LTX2Error, match=f"{name} was asked for and is not installed; run pip install {name}"):
        go(told(name))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_wandb_without_a_login_is_said_before_anything_is_trained(go, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "WANDB_CONFIG_DIR": str(tmp_path), "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()
    with pytest.raises(LTX2Error, match="wandb did not begin.*wandb login.*take it out of trackers"):
        go(told("wandb"))
    wandb.teardown()  # it keeps the environment that it began with
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_one_that_fails_on_the_way_is_said_and_training_goes_on(go, tmp_path, monkeypatch, surroundings):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    said, wrote = [], SummaryWriter.add_scalar

    def full(self, name, value, step):
        if step == 3:
            raise OSError("No space left on device")
        wrote(self, name, value, step)

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    monkeypatch.setattr(surroundings["reporter"], "message", lambda text, level="info": said.append((text, level)))
    result = go(told("tensorboard"))
    assert result.steps == 5 and [level for text, level in said if "tracker tensorboard failed (OSError: No space left" in text] == ["warning"]


def test_json_lines_are_always_written(go, tmp_path):
    result = go(RUN)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [r["loss"] for r in rows if r["event"] == "step"] == [r.loss for r in result.history.steps]
    assert [r["step"] for r in rows if r["event"] == "validation"] == [0, 2, 4, 5]
    assert not (tmp_path / "run" / "tensorboard").exists() and not list((tmp_path / "run").glob("wandb*"))


def test_tensorboard_shows_each_step_once(go, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    go(told("tensorboard"), until=3)
    result = go(told("tensorboard"))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    losses = [(e.step, e.value) for e in events.Scalars("train/loss")]
    assert losses == [(r.step, pytest.approx(r.loss, rel=1e-6)) for r in result.history.steps] and len(losses) == 5
    assert [(e.step, e.value) for e in events.Scalars("validation/video")] == [(v.step, pytest.approx(v.video, rel=1e-6)) for v in result.validation]
    assert {"train/video", "train/audio", "train/rate", "train/gradient_norm"} <= set(events.Tags()["scalars"])


def records(path):
    """What a .wandb file holds, one by one: LevelDB's log format (blocks of 32 KiB; checksum, length and kind before each
    piece) behind a head of 7 bytes.
    """
    data, place, whole = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        if kind == 0:
            return
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # all of it, or its last piece
            yield whole
            whole = b""


def test_wandb_goes_on_in_one_run(go, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_CONFIG_DIR": str(tmp_path), "WANDB_CACHE_DIR": str(tmp_path), "WANDB_DATA_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    go(told("wandb"), until=3)
    result = go(told("wandb"))
    losses, identities = {}, set()
    for path in sorted((tmp_path / "run").rglob("*.wandb")):
        for data in records(path):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                identities.add((record.run.run_id, record.run.project, record.run.display_name))
            values = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
            if "train/loss" in values:
                losses[values["step"]] = values["train/loss"]
    assert losses == {r.step: pytest.approx(r.loss) for r in result.history.steps}
    assert {(p, n) for _, p, n in identities} == {("foxes", "fox")} and len({i for i, _, _ in identities}) == 1
