"""A run goes on where it was cut, bit for bit, and leaves the model as it was."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ltx2core.checkpoint.adapter import load_adapter, save_adapter
from ltx2core.errors import LTX2Error
from ltx2core.protocols import Interrupted
from ltx2core.standalone import StopFlag
from ltx2core.train.loop import train
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.state import Checkpointer, load_state

RUN = RunConfig(
    LoRASettings(rank=2, alpha=4, dropout=0.1),
    TrainSettings(steps=7, learning_rate=1e-2, warmup=2, batch_size=2, accumulation=2, checkpoint_every=3, validate_every=4,
                  validation_clips=1, dtype="float32", first_frame_probability=0.5, caption_dropout=0.3),
)  # fmt: skip


class StopAfter(StopFlag):
    """Says stop when it is asked for the ``calls``-th time, as a person would between two steps."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def requested(self):
        self.calls -= 1
        return self.calls < 0


def bits(result):
    return [(r.step, r.loss, r.video, r.audio, r.gradient_norm, r.rate) for r in result.history.steps]


def file_bytes(result, path):
    """The adapter file as (header, bytes of the tensors): safetensors writes the header's entries in any order."""
    data = save_adapter(path, result.adapter, torch.float32).read_bytes()
    size = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:size]), data[size:]


@pytest.fixture
def cache(tmp_path, make_cache):
    return make_cache(tmp_path / "cache")


def test_a_stopped_run_goes_on_bit_for_bit(model, cache, tmp_path, surroundings):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    types = {n: type(m) for n, m in model.named_modules()}
    whole = train(RUN, model, cache, directory=tmp_path / "whole", **surroundings)
    with pytest.raises(Interrupted, match="step 4 of 7"):
        train(RUN, model, cache, directory=tmp_path / "cut", **(surroundings | {"stop": StopAfter(4)}))
    cut = train(RUN, model, cache, directory=tmp_path / "cut", **surroundings)
    assert bits(cut) == bits(whole) and len(bits(cut)) == 7
    assert cut.validation == whole.validation and [v.step for v in cut.validation] == [0, 4, 7]
    assert file_bytes(cut, tmp_path / "a.safetensors") == file_bytes(whole, tmp_path / "b.safetensors")
    assert {n: type(m) for n, m in model.named_modules()} == types and not any(p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not hasattr(model, "peft_config")


KILLED = """
import sys, torch
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
import test_loop
from ltx2core.cache.dataset import DatasetCache
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.models.build import load_transformer
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
torch.set_num_threads({threads})
model = load_transformer(open_checkpoint({file!r}), dtype=torch.float32)
run = test_loop.replace(test_loop.RUN, train=test_loop.replace(test_loop.RUN.train, steps=100000))
test_loop.train(run, model, DatasetCache.load(Path({manifest!r})), directory=Path({directory!r}),
    residency=PlainResidency(torch.device("cpu")), reporter=ConsoleReporter(quiet=True), stop=StopFlag())
"""


@pytest.mark.skipif(hasattr(os, "fork"), reason="test_kills.py kills runs at many places here")
def test_a_killed_run_goes_on_bit_for_bit(model, tiny_file, cache, tmp_path, surroundings):
    directory, here = tmp_path / "killed", Path(__file__).resolve()
    code = KILLED.format(root=str(here.parents[2]), tests=str(here.parent), file=str(tiny_file), manifest=str(cache.save()), directory=str(directory), threads=torch.get_num_threads())
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    end = time.monotonic() + 90
    while not list(directory.glob("state-*.safetensors")) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    _, errors = process.communicate()
    assert list(directory.glob("state-*.safetensors")), errors.decode()[-2000:]
    done = load_state(Checkpointer(directory).paths()[0]).step
    run = replace(RUN, train=replace(RUN.train, steps=done + 2))
    going_on = train(run, model, cache, directory=directory, **surroundings)
    whole = train(run, model, cache, directory=tmp_path / "whole", **surroundings)
    assert bits(going_on) == bits(whole) and len(bits(whole)) == done + 2
    assert file_bytes(going_on, tmp_path / "a.safetensors") == file_bytes(whole, tmp_path / "b.safetensors")


def test_a_finished_run_is_returned_at_once(model, cache, tmp_path, surroundings):
    first = train(RUN, model, cache, directory=tmp_path / "run", **surroundings)
    stamp = first.adapter_state_path.stat().st_mtime_ns

    def no_engine(*_):
        raise AssertionError("a finished run was trained again")

    again = train(RUN, model, cache, directory=tmp_path / "run", engine=no_engine, **surroundings)
    assert again.adapter_state_path.stat().st_mtime_ns == stamp and bits(again) == bits(first) and again.steps == 7
    assert again.seconds == first.seconds > 0


def test_only_the_newest_checkpoints_stay(model, cache, tmp_path, surroundings):
    run = replace(RUN, train=replace(RUN.train, checkpoint_every=1, keep_checkpoints=2))
    train(run, model, cache, directory=tmp_path / "run", **surroundings)
    assert sorted(p.name for p in (tmp_path / "run").glob("*state*")) == ["state-00000006.safetensors", "state-00000007.safetensors"]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(model, cache, tmp_path, surroundings):
    result = train(RUN, model, cache, directory=tmp_path / "run", **surroundings)
    data = result.adapter_state_path.read_bytes()
    result.adapter_state_path.write_bytes(data[: len(data) // 2])
    again = train(RUN, model, cache, directory=tmp_path / "run", **surroundings)
    assert bits(again) == bits(result)
    assert file_bytes(again, tmp_path / "a.safetensors") == file_bytes(result, tmp_path / "b.safetensors")


def test_another_run_in_the_folder_is_refused_by_name(model, cache, tmp_path, surroundings):
    train(RUN, model, cache, directory=tmp_path / "run", **surroundings)
    other = replace(RUN, train=replace(RUN.train, learning_rate=2e-2))
    with pytest.raises(LTX2Error, match=r"train\.learning_rate was 0\.01 there and is 0\.02 now"):
        train(other, model, cache, directory=tmp_path / "run", **surroundings)


def test_a_run_can_be_made_longer(model, cache, tmp_path, surroundings):
    longer = replace(RUN, train=replace(RUN.train, steps=9))
    train(RUN, model, cache, directory=tmp_path / "run", **surroundings)
    going_on = train(longer, model, cache, directory=tmp_path / "run", **surroundings)
    assert bits(going_on) == bits(train(longer, model, cache, directory=tmp_path / "whole", **surroundings))


def test_a_loss_that_is_not_finite_stops_before_it_is_saved(model, cache, tmp_path, surroundings):
    run = replace(RUN, train=replace(RUN.train, learning_rate=1e30, max_grad_norm=0.0, checkpoint_every=1))
    with pytest.raises(LTX2Error, match="lower the learning rate"):
        train(run, model, cache, directory=tmp_path / "run", **surroundings)
    state, _ = Checkpointer(tmp_path / "run").newest()
    assert all(torch.isfinite(t).all() for t in state.part("optimizer").values())
    assert not hasattr(model, "peft_config")


def test_it_trains_inside_inference_mode(model, cache, tmp_path, surroundings):
    outside = train(RUN, model, cache, directory=tmp_path / "a", **surroundings)
    with torch.inference_mode():
        model.proj_in.weight = torch.nn.Parameter(model.proj_in.weight.clone(), requires_grad=False)
        inside = train(RUN, model, cache, directory=tmp_path / "b", **surroundings)
    assert bits(inside) == bits(outside)


def test_continue_from_an_adapter(model, cache, tmp_path, surroundings):
    first = train(RUN, model, cache, directory=tmp_path / "a", **surroundings)
    loaded = load_adapter(save_adapter(tmp_path / "first.safetensors", first.adapter, torch.float32))
    still = replace(RUN, train=replace(RUN.train, learning_rate=0.0))
    second = train(still, model, cache, directory=tmp_path / "b", adapter=loaded, **surroundings)
    for module, (down, up) in first.adapter.layers.items():
        assert torch.equal(second.adapter.layers[module][0], down) and torch.equal(second.adapter.layers[module][1], up)
    assert second.validation[0].video == pytest.approx(first.validation[-1].video, rel=1e-6)
    with pytest.raises(LTX2Error, match="holds another run: start was None"):
        train(RUN, model, cache, directory=tmp_path / "a", adapter=loaded, **surroundings)
    with pytest.raises(LTX2Error, match="set rank to 2"):
        train(replace(RUN, lora=LoRASettings(rank=3)), model, cache, directory=tmp_path / "c", adapter=loaded, **surroundings)
