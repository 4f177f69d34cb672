"""The same global batch gives the same adapter on any number of processes, however it is dealt out."""

import json

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.compare import worst_relative_error
from ltx2core.train.state import load_state


@pytest.fixture(scope="module")
def pair(run_on):
    return run_on(2, "two")


def state(folder, output, step=4):
    """The float32 state of a run: the adapter that is exported is rounded to bf16."""
    return load_state(folder / output / "runs" / "mine" / f"state-{step:08d}.safetensors")


def relative(ours, theirs):
    assert ours.keys() == theirs.keys()
    return worst_relative_error(ours, theirs)


def validation(events):
    return [e["text"] for e in events if "Validation loss" in e.get("text", "")]


def test_training_moved_the_adapter(folder, single):
    assert all(t.norm() > 1e-4 for k, t in state(folder, "single").part("adapter").items() if "lora_B" in k)


def check_same(folder, single, output, events):
    ours, theirs = state(folder, output), state(folder, "single")
    assert relative(ours.part("adapter"), theirs.part("adapter")) <= 1e-5
    assert relative(ours.part("optimizer"), theirs.part("optimizer")) <= 1e-5
    assert ours.sampler == theirs.sampler
    assert validation(events) == validation(single[1]) and len(validation(events)) == 2


def test_two_processes(folder, single, pair):
    check_same(folder, single, "two", pair[1])


def test_four_processes(folder, single, run_on, request):
    if not request.config.getoption("--full"):
        pytest.skip("two stand for it; with --full")
    check_same(folder, single, "four", run_on(4, "four")[1])


def test_sharded_base(folder, single, run_on):
    _, events = run_on(2, "sharded", distributed="fsdp2")
    assert any("sharded over 2 cards a machine" in e.get("text", "") for e in events)
    check_same(folder, single, "sharded", events)


def test_two_machines(folder, single, write_run, start, request):
    """Two torchruns that find each other stand for them: the base is sharded inside each, and repeated."""
    if not request.config.getoption("--full"):
        pytest.skip("takes half a minute; with --full")
    run, events = write_run("machines", distributed="fsdp2"), folder / "machines.jsonl"
    meet = ("--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:29561", "--rdzv-id", "two")
    both = [start(2, "train", run, "--events", events, agents=meet) for _ in range(2)]
    for process in both:
        said = process.communicate(timeout=240)[0]
        assert process.returncode == 0, said[-3000:]
    rows = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    assert any("sharded over 2 cards a machine" in r.get("text", "") for r in rows) and any("4 processes share" in r.get("text", "") for r in rows)
    check_same(folder, single, "machines", rows)


def test_several_sets_and_regularisation_on_a_sharded_base(folder, run_on):
    """Where one process has a clip of regularisation all make the base's prediction, for which a sharded base needs every one.
    With one clip a pass dropout too is of the clip's place, whoever has it.
    """
    clips = {"folder": "clips", "width": 64, "height": 64, "frames": 9}
    sets = {"dataset": None, "datasets": [clips, {**clips, "id": "wide", "width": 96, "max_samples": 2}], "regularisation": {**clips, "max_samples": 1}, "lora": {"rank": 2, "dropout": 0.2}}
    run_on(1, "sets_1", **sets)
    run_on(2, "sets_2", distributed="fsdp2", **sets)
    ours, theirs = state(folder, "sets_2"), state(folder, "sets_1")
    assert relative(ours.part("adapter"), theirs.part("adapter")) <= 1e-5 and ours.sampler == theirs.sampler


def test_two_clips_a_pass(folder, single, run_on):
    """Other shapes round otherwise, and Adam magnifies that where a gradient is nearly 0, so the losses are compared."""
    run_on(1, "passes", {"batch_size": 2})

    def losses(output):
        rows = (json.loads(line) for line in (folder / output / "runs" / "mine" / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        return torch.tensor([[r["loss"], r["gradient_norm"]] for r in rows if r["event"] == "step"], dtype=torch.float64)

    assert torch.allclose(losses("passes"), losses("single"), rtol=1e-5, atol=0) and len(losses("single")) == 4


def test_each_process_encodes_its_share(folder, single, pair):
    rows = pair[1]
    assert "5 encoded now, 0 read" in next(r["text"] for r in rows if "clips are cached" in r.get("text", ""))
    # The first process, which alone reports, has three of the five clips.
    assert {r["total"] for r in rows if r.get("stage") == "latents"} == {3}
    ours, theirs = ({p.name: load_file(p) for p in (folder / o / "cache").rglob("*.safetensors")} for o in ("two", "single"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name][k], t) for name, tensors in theirs.items() for k, t in tensors.items())
