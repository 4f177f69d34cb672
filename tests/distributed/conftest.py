"""Runs of tiny models in real processes on the CPU: forked ones where the run is looked at, torchrun's where it has a part in it."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from forked import Forked
from safetensors.torch import load_file

from ltx2core.demo_clips import write_demo_clips
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma

ROOT = Path(__file__).resolve().parents[2]
SIZE = {"width": 64, "height": 64, "frames": 9}
# Five clips in steps of four: the last step of an epoch has one clip, and processes with nothing to do.
TRAIN = {"steps": 4, "dtype": "float32", "learning_rate": 1e-3, "warmup": 1, "validate_every": 0, "validation_clips": 3, "global_batch": 4, "caption_dropout": 0.3}


def _environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def torchrun(processes, *arguments, device="cpu", agents=("--standalone",), **options):
    """A started process, of one alone without torchrun; its output is in ``stdout``. agents: torchrun's own options for how machines find each other."""
    under = ["-m", "torch.distributed.run", *agents, "--nproc-per-node", str(processes)] if processes > 1 else []
    command = [sys.executable, *under, "-m", "ltx2core", *map(str, arguments), "--device", device]
    return subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


@pytest.fixture(scope="session")
def environment():
    return _environment()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("shared")
    write_tiny_checkpoint(root / "tiny.safetensors")
    write_tiny_gemma(root / "gemma.safetensors")
    write_demo_clips(root / "clips", count=5)
    return root


@pytest.fixture(scope="session")
def write_run(folder):
    """write_run(output, train=…, …) -> path of a run file whose results lie in ``folder/output``."""

    def write(output, train=None, **values):
        run = {
            "checkpoint": "tiny.safetensors", "text_encoder": "gemma.safetensors", "output": output, "name": "mine", "dataset": {"folder": "clips", **SIZE},
            "lora": {"rank": 2}, "train": {**TRAIN, **(train or {})}, **values,
        }  # fmt: skip
        run = {key: value for key, value in run.items() if value is not None}
        path = folder / f"{output}.json"
        path.write_text(json.dumps(run), encoding="utf-8")
        return path

    return write


@contextmanager
def _starter(outputs):
    """start(processes, *arguments) of the pack's command line -> what is like one process of ``subprocess``, ended with the block."""
    started = []

    def begin(processes, *arguments, forked=False, device="cpu", **options):
        if forked:
            started.append(Forked(outputs / f"{len(started)}.txt", processes, *arguments, "--device", device))
        else:
            started.append(torchrun(processes, *arguments, device=device, **options))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)


@pytest.fixture(scope="session")
def start_all(tmp_path_factory):
    with _starter(tmp_path_factory.mktemp("said")) as begin:
        yield begin


@pytest.fixture
def start(tmp_path):
    with _starter(tmp_path) as begin:
        yield begin


@pytest.fixture(scope="session")
def run_on(folder, write_run, start_all):
    """run_on(processes, output, train=…, device=…, …) -> (adapter's tensors, events) of a whole run."""

    def run(processes, output, train=None, device="cpu", **values):
        path, events = write_run(output, train, **values), folder / f"{output}.jsonl"
        process = start_all(processes, "train", path, "--events", events, device=device, forked=device == "cpu")
        said = process.communicate(timeout=240)[0]
        assert process.returncode == 0, said[-3000:]
        lines = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
        return load_file(folder / output / "mine.safetensors"), lines

    return run


@pytest.fixture(scope="session")
def single(run_on):
    """What one process makes of the usual run."""
    return run_on(1, "single")


def _lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest.fixture
def members():
    """members(events) -> process ids by rank."""

    def find(events):
        said = next((e["text"] for e in _lines(events) if "share the work" in e.get("text", "")), "")
        return [int(number) for number in re.findall(r"(\d+) on ", said)]

    return find


@pytest.fixture
def wait_for_step():
    """wait_for_step(events, step, process): until a run has come that far."""

    def wait(events, step, process):
        until = time.monotonic() + 120
        while max((e["done"] for e in _lines(events) if e.get("stage") == "train"), default=0) < step:
            assert process.poll() is None and time.monotonic() < until, process.communicate(timeout=60)[0][-3000:]
            time.sleep(0.1)

    return wait
