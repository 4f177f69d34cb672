"""Training inside a real ComfyUI leaves nothing changed: a native workflow gives afterwards what it gave before."""

import json
import shutil

import pytest
import torch
from test_bridge import native, read_latent
from test_train_nodes import training

pytestmark = pytest.mark.host
PROBE = {"1": {"class_type": "TestProbe", "inputs": {"action": "trace", "values": "{}"}}}


def test_a_native_workflow_runs_as_before(comfy):
    folder = comfy.base / "models" / "diffusion_models"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(comfy.base / "models" / "checkpoints" / "ltx-2-19b-dev.safetensors", folder / "ltx-2-19b-dev.safetensors")
    comfy.run(native(["20", 0], "trace_before", {}))
    before = json.loads(comfy.run({**PROBE, "2": {"class_type": "PreviewAny", "inputs": {"source": "before"}}})["1"]["text"][0])
    prompt, last = training("no_trace", checkpoint_every=0)
    assert comfy.run(prompt)[last]["ltx2_run"][0]["steps"] == 6
    # Another prompt in between has dropped what was kept of the first: all of it runs again.
    comfy.run(native(["20", 0], "trace_after", {}))
    again = {"1": {"class_type": "TestProbe", "inputs": {"action": "trace", "values": json.dumps({"when": "after"})}}}
    after = json.loads(comfy.run(again)["1"]["text"][0])
    first, second = (read_latent(comfy, name) for name in ("trace_before", "trace_after"))
    assert torch.equal(first, second) and first.std() > 0.1
    changed = {name for name, place in before["functions"].items() if after["functions"].get(name) != place}
    assert len(before["functions"]) > 500 and not changed
    assert not after["in_training"] and not after["trainable"]
    assert {k: v for k, v in after.items() if k != "functions"} == {k: v for k, v in before.items() if k != "functions"}
