"""Where a run begins: auto, new or a path; what is kept; and that steps count from the run's beginning."""

import json
from dataclasses import replace

import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.protocols import Interrupted
from ltx2core.standalone import StopFlag
from ltx2core.train.loop import train
from ltx2core.train.retention import Retention
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.state import Checkpointer

RUN = RunConfig(
    LoRASettings(rank=2, dropout=0.1),
    TrainSettings(steps=6, learning_rate=1e-2, warmup=2, checkpoint_every=2, keep_checkpoints=10, validate_every=3, validation_clips=1, dtype="float32"),
)  # fmt: skip


@pytest.fixture
def go(model, make_cache, tmp_path, surroundings):
    cache = make_cache(tmp_path / "cache")

    def call(name, run=RUN, until=None, **changes):
        return train(replace(run, train=replace(run.train, **changes)), model, cache, directory=tmp_path / name, until=until, **surroundings)

    return call


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def steps(folder):
    return sorted(Checkpointer.step_of(p) for p in Checkpointer(folder).paths())


def same(a, b):
    pairs = [(x, y) for m in a.adapter.layers for x, y in zip(a.adapter.layers[m], b.adapter.layers[m], strict=True)]
    return bool(pairs) and all(torch.equal(x, y) for x, y in pairs) and a.history.steps == b.history.steps and a.validation == b.validation


@pytest.mark.parametrize("last,every,kept", [(2, 0, [9, 10]), (1, 5, [5, 10]), (3, 4, [4, 8, 9, 10]), (20, 0, list(range(1, 11)))])
def test_retention_keeps_the_last_and_every_nth(last, every, kept):
    dropped = Retention(last, every).dropped([10, *range(1, 10)])
    assert [s for s in range(1, 11) if s not in dropped] == kept


def test_checkpoints_of_every_nth_step_stay(go, tmp_path):
    go("run", checkpoint_every=1, keep_checkpoints=1, keep_every=3)
    assert steps(tmp_path / "run") == [3, 6]


def test_new_sets_the_run_before_aside(go, tmp_path):
    first = go("run", until=4)
    second = go("run", resume="new")
    folder = tmp_path / "run"
    assert steps(folder) == [2, 4, 6] and steps(folder / "earlier-001") == [2, 4]
    assert [r["step"] for r in rows(folder / "earlier-001") if r["event"] == "step"] == [1, 2, 3, 4]
    assert second.history.steps[:4] == first.history.steps and same(second, go("whole"))
    go("run", resume="new", until=2)
    assert steps(folder / "earlier-002") == [2, 4, 6] and steps(folder / "earlier-001") == [2, 4]
    # auto never looks into what was set aside.
    assert go("run", until=3).steps == 3


def test_new_allows_other_settings_where_auto_refuses(go):
    go("run", until=2)
    with pytest.raises(LTX2Error, match="learning_rate"):
        go("run", learning_rate=1e-3)
    assert go("run", learning_rate=1e-3, resume="new").steps == 6


def test_a_path_goes_back_to_an_older_checkpoint_of_the_run(go, tmp_path):
    whole = go("run")
    older = Checkpointer(tmp_path / "run").path(2)
    back = go("run", resume=str(older), until=5)
    assert steps(tmp_path / "run") == [2, 4, 5] and steps(tmp_path / "run" / "earlier-001") == [4, 6]
    assert [v.step for v in back.validation] == [0, 3]
    # Started once more with the same path it goes on, and does not begin there again.
    again = go("run", resume=str(older))
    assert steps(tmp_path / "run") == [2, 4, 5, 6] and not (tmp_path / "run" / "earlier-002").exists()
    assert same(again, whole)


def test_a_run_goes_on_from_a_path_whose_checkpoint_has_been_let_go(go, tmp_path):
    """Retention takes the checkpoint that the run was begun from; queued again with the same path, the run is still the one that began there."""
    whole = go("whole")
    go("run", until=2)
    begun = Checkpointer(tmp_path / "run").path(2)
    go("run", resume=str(begun), until=5, keep_checkpoints=1)
    assert steps(tmp_path / "run") == [5]
    assert same(go("run", resume=str(begun), keep_checkpoints=1), whole) and not (tmp_path / "run" / "earlier-001").exists()
    with pytest.raises(LTX2Error, match="learning_rate was 0.01 there"):
        go("run", resume=str(begun), learning_rate=1e-3)


@pytest.mark.parametrize("resume, again", [("auto", "is saved, queue again"), ("new", "is saved, set resume to auto and queue again")])
def test_a_stopped_run_says_what_goes_on_with_it(resume, again, model, make_cache, tmp_path, surroundings):
    run = replace(RUN, train=replace(RUN.train, resume=resume))
    with pytest.raises(Interrupted, match=again):
        train(run, model, make_cache(tmp_path / "cache"), directory=tmp_path / "run", **{**surroundings, "stop": StopFlag(stopped=True)})


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_path_elsewhere_brings_its_losses(go, tmp_path, what):
    go("run", until=4)
    checkpoint = Checkpointer(tmp_path / "run").path(4)
    elsewhere = go("copy", resume=str(checkpoint if what == "file" else tmp_path / "run"))
    assert steps(tmp_path / "copy") == [6] and steps(tmp_path / "run") == [2, 4]
    assert same(elsewhere, go("whole"))


def test_a_path_of_another_run_or_of_nothing_is_refused(go, tmp_path):
    go("run", until=2)
    with pytest.raises(LTX2Error, match="learning_rate was 0.01 there"):
        go("other", learning_rate=1e-3, resume=str(tmp_path / "run"))
    with pytest.raises(LTX2Error, match="no such checkpoint"):
        go("other", resume=str(tmp_path / "none.safetensors"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(LTX2Error, match="holds no checkpoint"):
        go("other", resume=str(tmp_path / "empty"))
    with pytest.raises(LTX2Error, match="resume is empty"):
        TrainSettings(resume=" ")
    assert steps(tmp_path / "run") == [2]


def test_validation_and_checkpoints_count_from_the_run_s_beginning(go, tmp_path):
    """Cut at steps that are no multiple of anything, they still fall on 3 and 6, and on 2, 4 and 6."""
    for until in (1, 4, 5, 6):
        result = go("run", until=until)
    assert [v.step for v in result.validation] == [0, 3, 6] and steps(tmp_path / "run") == [1, 2, 4, 5, 6]
    assert same(result, go("whole"))
