"""A disk that fills up while a run trains: one clear sentence, and the last complete checkpoint serves to go on."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.models.build import load_transformer
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.train.loop import train
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.state import Checkpointer, load_state

RUN = RunConfig(LoRASettings(rank=2), TrainSettings(steps=10, learning_rate=1e-2, warmup=0, checkpoint_every=1, keep_checkpoints=1000, validation_clips=0, dtype="float32"))

# Each of ``jobs`` trains on a disk of its own.
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
for disk, run, out in json.loads({jobs!r}):
    out, said = Path(out), ""
    try:
        train(RunConfig.from_dict(run), load_transformer(open_checkpoint({file!r}), dtype=torch.float32), DatasetCache.load(Path({manifest!r})),
            directory=Path(disk), residency=PlainResidency(torch.device("cpu")), reporter=ConsoleReporter(quiet=True), stop=StopFlag())
    except LTX2Error as error:
        said = str(error)
    shutil.copytree(disk, out)
    out.joinpath("said.txt").write_text(said, encoding="utf-8")
"""
SERVICES = {"residency": PlainResidency(torch.device("cpu")), "reporter": ConsoleReporter(quiet=True), "stop": StopFlag()}


def can_mount():
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-Urm", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def cache(make_cache, tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("full") / "cache")


@pytest.fixture(scope="module")
def whole(tiny_file, cache, tmp_path_factory):
    """The run on a disk with room."""
    model = load_transformer(open_checkpoint(tiny_file), dtype=torch.float32)
    return train(RUN, model, cache, directory=tmp_path_factory.mktemp("whole"), **SERVICES)


@pytest.fixture(scope="module")
def on_small_disks(tiny_file, cache, whole, tmp_path_factory):
    """Name -> (what was said, a copy of the run's folder): of a run that fills its disk with checkpoints, and of one that
    fills the two pages of another with the lines of its losses.
    """
    if not can_mount():
        pytest.skip("this system does not let a process mount a small file system of its own")
    folder = tmp_path_factory.mktemp("disks")
    runs = {
        "checkpoints": (RUN, round(3.5 * whole.adapter_state_path.stat().st_size)),
        "losses": (replace(RUN, train=replace(RUN.train, steps=200, checkpoint_every=0)), 8192),
    }  # fmt: skip
    mounts, jobs = [], []
    for name, (run, room) in runs.items():
        (folder / name).mkdir()
        mounts.append(f"mount -t tmpfs -o size={room} tmpfs {folder / name}")
        jobs.append((str(folder / name), run.to_dict(), str(folder / f"{name}_kept")))
    code = CHILD.format(root=str(Path(__file__).resolve().parents[2]), threads=torch.get_num_threads(), jobs=json.dumps(jobs), file=str(tiny_file), manifest=str(cache.save()))
    (folder / "child.py").write_text(code, encoding="utf-8")
    command = " && ".join([*mounts, f"exec {sys.executable} {folder / 'child.py'}"])
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    kept = {name: folder / f"{name}_kept" for name in runs}
    return {name: ((path / "said.txt").read_text(encoding="utf-8"), path) for name, path in kept.items()}


def test_a_full_disk_leaves_the_last_checkpoint(model, cache, whole, on_small_disks):
    said, folder = on_small_disks["checkpoints"]
    assert said.startswith("The disk is full: ") and "free some space and queue again" in said
    states = Checkpointer(folder).paths()
    assert 2 <= len(states) <= 3 and [load_state(p).step for p in states] == list(range(len(states), 0, -1))
    going_on = train(RUN, model, cache, directory=folder, **SERVICES)
    assert [r.loss for r in going_on.history.steps] == [r.loss for r in whole.history.steps] and going_on.steps == RUN.train.steps


def test_losses_that_cannot_be_written_are_said_too(on_small_disks):
    said, folder = on_small_disks["losses"]
    assert said.startswith("The disk is full: ") and "metrics.jsonl could not be written" in said
    assert not Checkpointer(folder).paths()
