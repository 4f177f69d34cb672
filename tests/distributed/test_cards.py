"""On two NVIDIA cards, through NCCL: the same losses as on one, and the end of a run whose process is killed."""

import json
import os
import signal

import pytest
import torch

from ltx2core.train.state import load_state

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA cards")
KINDS = ("ddp", "fsdp2")


def losses(folder, output):
    rows = (json.loads(line) for line in (folder / output / "runs" / "mine" / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return torch.tensor([[r["loss"], r["gradient_norm"]] for r in rows if r["event"] == "step"], dtype=torch.float64)


@pytest.fixture(scope="module")
def alone(folder, run_on):
    run_on(1, "card", device="cuda")
    return losses(folder, "card")


@pytest.mark.parametrize("kind", KINDS)
def test_two_cards_train_as_one(folder, run_on, alone, kind):
    """Kernels of a card round differently from shape to shape; the same noise on the same clips is seen in the losses."""
    run_on(2, f"cards_{kind}", device="cuda", distributed=kind)
    assert torch.allclose(losses(folder, f"cards_{kind}"), alone, rtol=1e-3, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("victim", [0, 1])
def test_the_other_card_s_process_saves(folder, write_run, start, members, wait_for_step, kind, victim):
    """A sum that waits for the dead process holds up the other card, which must be freed for the state to be read."""
    output = f"killed_card_{kind}_{victim}"
    train = {"steps": 100_000, "checkpoint_every": 0, "validation_clips": 0, "schedule": "constant"}
    run, events = write_run(output, train, distributed=kind), folder / f"{output}.jsonl"
    process = start(2, "train", run, "--events", events, device="cuda")
    wait_for_step(events, 20, process)
    os.kill(members(events)[victim], signal.SIGKILL)
    said = process.communicate(timeout=45)[0]  # 30 seconds, and what torchrun takes
    saved = sorted((folder / output / "runs" / "mine").glob("state-*.safetensors"))
    assert process.returncode != 0 and len(saved) == 1, said[-3000:]
    error = next(e["text"] for e in map(json.loads, events.read_text(encoding="utf-8").splitlines()) if e.get("level") == "error")
    assert f"rank {victim} of 2" in error and f"state of step {load_state(saved[0]).step} is saved" in error
