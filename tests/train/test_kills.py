"""kill -9 at random places, again and again: nothing saved is lost, and the end is that of a run left alone, to the bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ltx2core.train.retention import Retention
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.state import Checkpointer, load_state

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the worker forks; test_loop.py kills a process on every system")

BASE = TrainSettings(steps=16, learning_rate=1e-2, warmup=3, checkpoint_every=2, keep_checkpoints=1000, validate_every=5, validation_clips=1,
                     dtype="float32", caption_dropout=0.3, first_frame_probability=0.5)  # fmt: skip
RUNS = {
    "adamw, dropout, mean of weights": RunConfig(LoRASettings(rank=2, dropout=0.1), replace(BASE, ema_decay=0.9, schedule="cosine")),
    "stochastic bf16, few checkpoints kept": RunConfig(LoRASettings(rank=2), replace(BASE, dtype="bf16", optimizer="adamw_bf16", keep_checkpoints=2, keep_every=8)),
    "lokr, batches, accumulation": RunConfig(LoRASettings(rank=2, kind="lokr"), replace(BASE, batch_size=2, accumulation=2, optimizer="prodigy", learning_rate=1.0)),
}


class Worker:
    def __init__(self, checkpoint, cache):
        command = [sys.executable, str(Path(__file__).with_name("crash_worker.py")), str(checkpoint), str(cache.save())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def train(self, run, directory, kill=None, file_event=0):
        """Seconds it took, and whether it was killed. ``kill(pid)`` may kill it; ``file_event``: see the worker."""
        job = {"run": run.to_dict(), "directory": str(directory), "file_event": file_event}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        pid, began = json.loads(self._process.stdout.readline())["pid"], time.monotonic()
        if kill is not None:
            kill(pid)
        status = json.loads(self._process.stdout.readline())["status"]
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL or os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        return time.monotonic() - began, os.WIFSIGNALED(status)

    def close(self):
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def worker(tiny_file, make_cache, tmp_path_factory):
    worker = Worker(tiny_file, make_cache(tmp_path_factory.mktemp("kills") / "cache"))
    yield worker
    worker.close()


def send_kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it had ended


def after(seconds):
    def kill(pid):
        time.sleep(seconds)
        send_kill(pid)

    return kill


def while_writing(directory, patience):
    """As soon as a half-written checkpoint is seen."""

    def kill(pid):
        end = time.monotonic() + patience
        while time.monotonic() < end and not any(name.startswith(".state-") for name in os.listdir(directory)):
            pass
        send_kill(pid)

    return kill


def steps_of(directory):
    return {Checkpointer.step_of(p) for p in Checkpointer(directory).paths()}


def same_files(a, b):
    ours, theirs = load_file(a), load_file(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def losses(directory):
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return sorted(rows, key=lambda r: (r["event"], r["step"]))


def attempt(worker, run, directory, chance, seconds):
    """One training that is killed somewhere: at a random time, at a random file event, or while a checkpoint is written."""
    kind = chance.choice(("time", "event", "writing"))
    if kind == "event":
        return worker.train(run, directory, file_event=chance.randrange(1, 40))[1]
    directory.mkdir(exist_ok=True)
    kill = after(chance.uniform(0, 0.6 * seconds)) if kind == "time" else while_writing(directory, chance.uniform(0.1, 0.8) * seconds)
    return worker.train(run, directory, kill)[1]


def killed_run(worker, run, directory, whole, chance, seconds, budget):
    """Train to the end over at most ``budget`` kills. Returns how many there were."""
    kills, train = 0, run.train
    while kills < budget:
        before = steps_of(directory)
        if not attempt(worker, run, directory, chance, seconds):
            break
        kills, now = kills + 1, steps_of(directory)
        # One attempt may write several checkpoints, so what retention lets go is judged by all that are known of.
        dropped = Retention(train.keep_checkpoints, train.keep_every).dropped(before | now)
        assert before - now <= set(dropped) and max(now, default=0) >= max(before, default=0)
        if now:
            assert load_state(Checkpointer(directory).path(max(now))).step == max(now)
    worker.train(run, directory)
    assert same_files(directory / "adapter.safetensors", whole / "adapter.safetensors")
    assert losses(directory) == losses(whole) and not list(directory.glob(".state*")) and not list(directory.glob(".metrics*"))
    assert steps_of(directory) == steps_of(whole)
    for step in steps_of(whole):
        assert same_files(Checkpointer(directory).path(step), Checkpointer(whole).path(step))
    return kills


def test_killed_anywhere_a_run_ends_as_if_left_alone(worker, tmp_path, request):
    """100 kills with ``--full``, else 8."""
    wanted, chance, kills, number = (100 if request.config.getoption("--full") else 8), random.Random(7), 0, 0
    wholes = {}
    while kills < wanted:
        name = list(RUNS)[number % len(RUNS)]
        if name not in wholes:
            wholes[name] = tmp_path / f"whole{number}", worker.train(RUNS[name], tmp_path / f"whole{number}")[0]
        kills += killed_run(worker, RUNS[name], tmp_path / f"run{number}", *wholes[name][:1], chance, wholes[name][1], wanted - kills)
        number += 1
        assert number < 20 * wanted, "hardly any training was killed"
    assert kills == wanted
