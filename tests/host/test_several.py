"""Train LoRA with ``gpus`` above 1 in a real ComfyUI: it hands the run to torchrun, follows it, and passes an interrupt on."""

import json
import re

import pytest
from comfy_host import training, with_preview
from safetensors.torch import load_file

from ltx2core.media.probe import probe
from ltx2core.train.state import Checkpointer

pytestmark = pytest.mark.host


def test_interrupted_on_two_processes_it_goes_on(comfy):
    prompt, last = training("shared", {"gpus": 2, "distributed": "fsdp2"}, steps=5000, schedule="constant", checkpoint_every=0)
    folder = comfy.base / "output" / "ltx2_runs" / "shared"
    with comfy.events("several") as events:
        mine, reached = comfy.submit(prompt, "several"), 0
        for kind, data in events.until_end(mine):
            if kind == "ltx2.progress" and data["stage"] == "train" and data["done"] >= 3 and not reached:
                reached = data["done"]
                comfy.interrupt()
    assert comfy.wait(mine)["status"]["messages"][-1][0] == "execution_interrupted" and reached
    (state,) = Checkpointer(folder).paths()
    step = Checkpointer.step_of(state)
    assert reached <= step < 5000
    said = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    processes = next(re.findall(r"(\d+) on ", e["text"]) for e in said if "share the work" in e.get("text", ""))
    assert len(set(processes)) == 2
    # Sharded or not, it is the same run.
    again, last = training("shared", {"gpus": 2}, steps=step + 2, schedule="constant", checkpoint_every=0)
    outputs = comfy.run(with_preview(again, last))
    assert outputs[last]["ltx2_run"][0]["steps"] == step + 2
    assert any("The base is sharded over 2 cards" in e.get("text", "") for e in said)
    record = json.loads((comfy.base / "models" / "loras" / "shared.json").read_text(encoding="utf-8"))
    assert record["train"]["global_batch"] == 2 * record["train"]["batch_size"] and record["distributed"] == "auto"
    film = folder / "previews" / f"step-{step + 2:06d}-fox.mp4"
    assert probe(film).frames == 9, said[-5:]
    assert any(t.abs().max() > 0 for t in load_file(comfy.base / "models" / "loras" / "shared.safetensors").values())
