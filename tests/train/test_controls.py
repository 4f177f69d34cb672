"""Pause, resume, save now, stop and save: what each leaves on disk, and that none of them changes what is learned."""

import threading
from dataclasses import replace

import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.protocols import Interrupted
from ltx2core.standalone import ConsoleReporter, StopFlag
from ltx2core.train.controls import ACTIONS, Paused, RunControls, with_pauses
from ltx2core.train.loop import train
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.step import EagerEngine

RUN = RunConfig(
    LoRASettings(rank=2, dropout=0.1),
    TrainSettings(steps=6, learning_rate=1e-2, warmup=2, checkpoint_every=0, validate_every=2, validation_clips=1, dtype="float32", caption_dropout=0.3),
)  # fmt: skip


class AtStep(ConsoleReporter):
    """Calls ``act`` when the loss of step ``step`` is told, as a person who watches would."""

    def __init__(self, step, act):
        super().__init__(quiet=True)
        self.step, self.act, self.said = step, act, []

    def progress(self, event):
        if event.stage == "train" and event.done == self.step:
            self.act()

    def message(self, text, level="info"):
        self.said.append(text)


@pytest.fixture
def cache(tmp_path, make_cache):
    return make_cache(tmp_path / "cache")


@pytest.fixture
def go(model, cache, tmp_path, surroundings):
    def call(name, run=RUN, **others):
        return train(run, model, cache, directory=tmp_path / name, **{**surroundings, **others})

    return call


def saved(folder):
    return sorted(int(p.stem.removeprefix("state-")) for p in folder.glob("state-*.safetensors"))


def same(a, b):
    layers = [(m, tuple(x), tuple(y)) for (m, x), y in zip(a.adapter.layers.items(), b.adapter.layers.values(), strict=True)]
    return bool(layers) and all(torch.equal(x, y) for _, xs, ys in layers for x, y in zip(xs, ys, strict=True)) and [r.loss for r in a.history.steps] == [r.loss for r in b.history.steps]


def test_save_now_writes_a_state_and_goes_on(go, tmp_path):
    states, controls = [], RunControls(lambda state: states.append(state))
    reporter = AtStep(3, lambda: controls.request("save"))
    result = go("run", controls=controls, reporter=reporter)
    assert saved(tmp_path / "run") == [3, 6] and result.steps == 6
    assert states == ["saving", "running"] and any("Saved at step 3" in text for text in reporter.said)
    assert same(result, go("whole"))


def test_stop_returns_what_was_learned_and_queueing_again_goes_on(go, tmp_path):
    controls = RunControls()
    part = go("run", controls=controls, reporter=AtStep(4, lambda: controls.request("stop")))
    assert part.steps == 4 and saved(tmp_path / "run") == [4] and controls.state == "stopping"
    four = go("four", until=4)
    assert same(part, four) and four.steps == 4 and [r.step for r in four.history.steps] == [1, 2, 3, 4]
    assert same(go("run"), go("whole"))


def test_a_pause_saves_and_leaves_the_model_alone_until_it_is_resumed(go, model, tmp_path, surroundings):
    controls, left = RunControls(), []

    def tell(state):
        states.append(state)
        if state == "paused":
            left.append((saved(tmp_path / "run"), hasattr(model, "peft_config")))
            threading.Timer(0.05, lambda: controls.request("resume")).start()

    states = []
    controls.listen(tell)
    attempts = []

    def attempt(again):
        attempts.append(again)
        return go("run", controls=controls, reporter=AtStep(3, lambda: controls.request("pause")))

    result = with_pauses(attempt, controls, StopFlag(), surroundings["reporter"])
    assert attempts == [False, True]
    assert left == [([3], False)] and states == ["pausing", "paused", "running"]
    assert same(result, go("whole"))


def test_cancel_during_a_pause_is_an_interrupt(go, surroundings):
    stop = StopFlag()

    def tell(state):
        stop.stopped = state == "paused"

    controls = RunControls(tell)
    with pytest.raises(Interrupted, match="at step 2 while it was paused; set resume to auto and queue again"):
        with_pauses(lambda again: go("run", controls=controls, reporter=AtStep(2, lambda: controls.request("pause"))), controls, stop, surroundings["reporter"], "new")


def test_stop_during_a_pause_ends_without_training_again(go, tmp_path, surroundings):
    controls, engines = RunControls(), []
    controls.listen(lambda state: controls.request("stop") if state == "paused" else None)

    def counted(*arguments):
        engines.append(1)
        return EagerEngine(*arguments)

    reporter = AtStep(2, lambda: controls.request("pause"))
    part = with_pauses(lambda again: go("run", controls=controls, reporter=reporter, engine=counted), controls, StopFlag(), surroundings["reporter"])
    assert (part.steps, len(engines), controls.state) == (2, 1, "stopping") and same(part, go("two", until=2))
    assert same(go("run"), go("whole"))


def test_without_controls_a_pause_is_handed_on(surroundings):
    def attempt(again):
        raise Paused(3)

    with pytest.raises(Paused, match="step 3"):
        with_pauses(attempt, None, StopFlag(), surroundings["reporter"])


def test_an_unknown_action_is_refused():
    with pytest.raises(LTX2Error, match="action"):
        RunControls().request("explode")
    assert ACTIONS == ("pause", "resume", "save", "stop")


def test_a_wait_ends_when_it_is_resumed():
    controls = RunControls()
    controls.request("pause")
    threading.Timer(0.05, lambda: controls.request("resume")).start()
    controls.wait(60)
    assert not controls.pause_requested()


def test_until_does_not_change_a_falling_schedule(go):
    run = replace(RUN, train=replace(RUN.train, schedule="cosine"))
    for step in (2, 3, 6):
        result = go("parts", run, until=step)
        assert result.steps == step
    assert same(result, go("whole", run))
