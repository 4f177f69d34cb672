"""The share of time that steps wait for data, told by the run itself."""

import time

import pytest

from ltx2core.cache.dataset import DatasetCache
from ltx2core.train.loop import train
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.waiting import DataWait


def test_the_first_step_does_not_count():
    wait = DataWait()
    wait.add(5.0, 6.0)
    assert wait.share is None
    wait.add(0.5, 2.0)
    wait.add(0.0, 2.0)
    assert wait.share == pytest.approx(0.125)


class Listener:
    def __init__(self):
        self.metrics, self.messages = [], []

    def progress(self, event):
        self.metrics.append(event.metrics)

    def message(self, text, level="info"):
        self.messages.append((level, text))


def test_a_disk_that_is_slower_than_the_steps_is_told(model, make_cache, surroundings, tmp_path, monkeypatch):
    read = DatasetCache.__getitem__

    def slowly(cache, index):
        time.sleep(1)  # far more than a step of this model
        return read(cache, index)

    monkeypatch.setattr(DatasetCache, "__getitem__", slowly)
    heard, run = Listener(), RunConfig(LoRASettings(rank=2), TrainSettings(steps=4, dtype="float32", validate_every=0, validation_clips=0, checkpoint_every=0))
    train(run, model, make_cache(tmp_path / "cache"), directory=tmp_path / "run", **{**surroundings, "reporter": heard})
    shares = [metrics["data_wait"] for metrics in heard.metrics if "data_wait" in metrics]
    assert shares and all(0 < share < 1 for share in shares) and shares[-1] > 0.02
    told = [entry for entry in heard.messages if "waited for data" in entry[1]]
    assert [level for level, _ in told] == ["warning"]
