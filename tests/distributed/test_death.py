"""One process dies: all end within 30 s, the state is saved, the cause is named, and the run goes on with another number."""

import json
import os
import signal

import pytest

from ltx2core.train.state import load_state


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a kill that nobody can catch is POSIX's")
@pytest.mark.parametrize(("victim", "kind"), [(1, "ddp"), (0, "ddp"), (1, "fsdp2")])
def test_the_others_save_and_name_it(folder, write_run, start, run_on, members, wait_for_step, victim, kind, request):
    if (victim, kind) == (1, "ddp") and not request.config.getoption("--full"):
        pytest.skip("the two others stand for it; with --full")
    output = f"killed_{kind}_{victim}"
    train = {"steps": 5000, "checkpoint_every": 0, "validation_clips": 0, "schedule": "constant"}
    run, events = write_run(output, train, distributed=kind), folder / f"{output}.jsonl"
    process = start(2, "train", run, "--events", events, forked=kind == "fsdp2")
    wait_for_step(events, 3, process)
    os.kill(members(events)[victim], signal.SIGKILL)
    said = process.communicate(timeout=30)[0]  # raises when they take longer
    assert process.returncode != 0
    saved = sorted((folder / output / "runs" / "mine").glob("state-*.safetensors"))
    assert len(saved) == 1, said[-3000:]
    reached = load_state(saved[0]).step
    assert reached >= 3
    error = next(e["text"] for e in lines(events) if e.get("level") == "error")
    assert f"rank {victim} of 2" in error and "died" in error and f"state of step {reached} is saved" in error
    if kind == "fsdp2":
        # With one process and no word of the global batch it goes on with that of the run.
        _, rows = run_on(1, output, {"steps": reached + 2, "global_batch": 0, "batch_size": 2, "validation_clips": 0}, distributed=kind)
        assert any(f"goes on at step {reached}" in r.get("text", "") for r in rows)
        assert load_state(folder / output / "runs" / "mine" / f"state-{reached + 2:08d}.safetensors").facts["settings"]["train"]["global_batch"] == 4


def test_an_error_of_one_process_is_said_once(folder, write_run, start, wait_for_step):
    """A clip that only the second process reads is gone from the cache while it trains."""
    run, events = write_run("torn", {"steps": 5000, "checkpoint_every": 0, "validation_clips": 0}), folder / "torn.jsonl"
    process = start(2, "train", run, "--events", events, forked=True)
    wait_for_step(events, 2, process)
    for path in (folder / "torn" / "cache" / "text").rglob("*.safetensors"):
        path.unlink()
    process.communicate(timeout=60)
    errors = [e["text"] for e in lines(events) if e.get("level") == "error"]
    assert process.returncode != 0 and any("is damaged or gone" in text for text in errors)
