"""A disk that fills up while a run trains: one clear sentence, and the last complete checkpoint serves to go on."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ltx2core.train.loop import train
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.state import Checkpointer, load_state

RUN = RunConfig(LoRASettings(rank=2), TrainSettings(steps=40, learning_rate=1e-2, warmup=0, checkpoint_every=1, keep_checkpoints=1000, validation_clips=0, dtype="float32"))

CHILD = """
import json, shutil, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import torch
from ltx2core.cache.dataset import DatasetCache
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.errors import LTX2Error
from ltx2core.models.build import load_transformer
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.train.loop import train
from ltx2core.train.settings import RunConfig
torch.set_num_threads({threads})
small, out = Path({small!r}), Path({out!r})
try:
    train(RunConfig.from_dict(json.loads({run!r})), load_transformer(open_checkpoint({file!r}), dtype=torch.float32), DatasetCache.load(Path({manifest!r})),
        directory=small, residency=PlainResidency(torch.device("cpu")), reporter=ConsoleReporter(quiet=True), stop=StopFlag())
    said = ""
except LTX2Error as error:
    said = str(error)
out.joinpath("said.txt").write_text(said, encoding="utf-8")
shutil.copytree(small, out / "run")
"""


def can_mount():
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-Urm", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def cache(tmp_path, make_cache):
    return make_cache(tmp_path / "cache")


@pytest.fixture
def on_small_disk(tiny_file, cache, tmp_path):
    """on_small_disk(run, bytes) -> (what was said, a copy of the run's folder), of a run whose disk holds so many bytes."""
    if not can_mount():
        pytest.skip("this system does not let a process mount a small file system of its own")
    small, out, script = tmp_path / "small", tmp_path / "out", tmp_path / "child.py"
    small.mkdir()
    out.mkdir()

    def go(run, room):
        code = CHILD.format(root=str(Path(__file__).resolve().parents[2]), threads=torch.get_num_threads(), small=str(small), out=str(out),
                            run=json.dumps(run.to_dict()), file=str(tiny_file), manifest=str(cache.save()))  # fmt: skip
        script.write_text(code, encoding="utf-8")
        command = f"mount -t tmpfs -o size={room} tmpfs {small} && exec {sys.executable} {script}"
        done = subprocess.run(["unshare", "-Urm", "sh", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return (out / "said.txt").read_text(encoding="utf-8"), out / "run"

    return go


def test_a_full_disk_leaves_the_last_checkpoint(model, cache, tmp_path, surroundings, on_small_disk):
    whole = train(RUN, model, cache, directory=tmp_path / "whole", **surroundings)
    said, folder = on_small_disk(RUN, round(3.5 * whole.adapter_state_path.stat().st_size))
    assert said.startswith("The disk is full: ") and "free some space and queue again" in said
    states = Checkpointer(folder).paths()
    assert 2 <= len(states) <= 3 and [load_state(p).step for p in states] == list(range(len(states), 0, -1))
    going_on = train(RUN, model, cache, directory=folder, **surroundings)
    assert [r.loss for r in going_on.history.steps] == [r.loss for r in whole.history.steps] and going_on.steps == 40


def test_losses_that_cannot_be_written_are_said_too(on_small_disk):
    """A disk of two pages, on which only the lines of losses grow."""
    said, folder = on_small_disk(replace(RUN, train=replace(RUN.train, steps=200, checkpoint_every=0)), 8192)
    assert said.startswith("The disk is full: ") and "metrics.jsonl could not be written" in said
    assert not Checkpointer(folder).paths()
