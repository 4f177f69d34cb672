"""Training in segments, previews, and the run file beside the adapter, in a real ComfyUI on tiny models."""

import json

import pytest
import torch
from comfy_host import QUICK, shipped
from safetensors.torch import load_file

from ltx2core.cli import main
from ltx2core.media.probe import probe
from ltx2core.train.state import Checkpointer

pytestmark = pytest.mark.host
LOADERS = {"LTX2LoadCheckpoint", "LTX2LoadTextEncoder", "LTX2VideoDataset", "LTX2CacheDataset", "LTX2LoRASettings", "LTX2TrainSettings", "LTX2TrainLoRA"}


def training(name, **settings):
    """The shipped training graph up to the LoRA, and the id of its last node."""
    prompt = shipped("first_lora", **{**QUICK, "LTX2TrainSettings": {**QUICK["LTX2TrainSettings"], **settings}, "LTX2TrainLoRA": {"name": name}})
    prompt = {key: node for key, node in prompt.items() if node["class_type"] in LOADERS}
    (last,) = [key for key, node in prompt.items() if node["class_type"] == "LTX2TrainLoRA"]
    return prompt, last


def run_folder(comfy, name):
    return comfy.base / "output" / "ltx2_runs" / name


def steps(folder):
    return sorted(Checkpointer.step_of(p) for p in Checkpointer(folder).paths())


def test_queueing_a_segment_again_goes_on_until_the_run_is_done(comfy):
    prompt, last = training("pieces", checkpoint_every=0, keep_checkpoints=10)
    prompt[last] = {"class_type": "LTX2TrainSegment", "inputs": {**prompt[last]["inputs"], "segment_steps": 4}}
    prompt["shown"] = {"class_type": "PreviewAny", "inputs": {"source": [last, 3]}}
    reached = []
    for _ in range(2):
        outputs = comfy.run(prompt)
        reached.append(("".join(outputs["shown"]["text"]), outputs[last]["ltx2_run"][0]["steps"]))
    assert reached == [("4", 4), ("6", 6)] and steps(run_folder(comfy, "pieces")) == [4, 6]
    whole, key = training("whole", checkpoint_every=0)
    comfy.run(whole)
    ours, theirs = (load_file(comfy.base / "models" / "loras" / f"{n}.safetensors") for n in ("pieces", "whole"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_previews_are_made_and_told_and_the_run_file_repeats_the_run(comfy):
    prompt, last = training("watched")
    inputs = {"positive": ["text", 0], "name": "fox", "every": 3, "width": 96, "height": 64, "frames": 9, "steps": 2, "video_cfg": 1.0, "seed": 0}
    (models,) = [k for k, n in prompt.items() if n["class_type"] == "LTX2LoadCheckpoint"]
    (encoder,) = [k for k, n in prompt.items() if n["class_type"] == "LTX2LoadTextEncoder"]
    prompt["text"] = {"class_type": "LTX2EncodePrompt", "inputs": {"checkpoint": [models, 0], "text_encoder": [encoder, 0], "prompt": "A fox."}}
    prompt["films"] = {"class_type": "LTX2TrainingPreview", "inputs": inputs}
    prompt[last]["inputs"]["previews"] = ["films", 0]
    with comfy.events("watcher") as events:
        done = comfy.submit(prompt, "watcher")
        told = [data for kind, data in events.until_end(done) if kind == "ltx2.preview"]
    folder = run_folder(comfy, "watched")
    assert [(t["run"], t["step"], t["file"], t["node"]) for t in told] == [("watched", s, f"previews/step-{s:06d}-fox.mp4", last) for s in (0, 3, 6)]
    for data in told:
        found = probe(folder / data["file"])
        assert (found.width, found.height) == (96, 64)
    loras = comfy.base / "models" / "loras"
    record = json.loads((loras / "watched.json").read_text(encoding="utf-8"))
    assert record["version"] == 1 and record["train"]["steps"] == 6
    assert main(["train", str(loras / "watched.json"), "--device", "cpu"]) == 0
    ours, again = load_file(loras / "watched.safetensors"), load_file(loras / "watched_again" / "watched.safetensors")
    assert ours.keys() == again.keys()
    # Another process with other threads: equal up to rounding.
    assert all(torch.allclose(ours[k].float(), again[k].float(), atol=1e-3, rtol=1e-2) for k in ours)
