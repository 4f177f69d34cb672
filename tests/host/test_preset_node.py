"""Train Preset in place of LoRA Settings and Train Settings, in a real ComfyUI on tiny models."""

import json
import shutil

import pytest
from comfy_host import shipped

from ltx2core.checkpoint.adapter import load_adapter

pytestmark = pytest.mark.host
SMALL = {"steps": 3, "rank": 4, "seed": 1, "optimizer": "adamw", "checkpoint_every": 0, "validate_every": 0, "dtype": "float32"}


@pytest.fixture(scope="module")
def with_sound(comfy):
    """A folder of the drawn clips that have sound, which a voice needs: all but the last."""
    source, folder = comfy.base / "input" / "ltx2_clips", comfy.base / "input" / "with_sound"
    folder.mkdir()
    for clip in sorted(source.glob("*.mp4"))[:-1]:
        shutil.copy(clip, folder)
        shutil.copy(clip.with_suffix(".txt"), folder)
    return folder.name


def training(preset, folder, **changes):
    """The shipped training graph up to the LoRA, with the preset's node for both settings."""
    dataset = {"folder": folder, "width": 128, "height": 96, "frames": 17}
    prompt = shipped("first_lora", LTX2VideoDataset=dataset, LTX2TrainLoRA={"name": f"preset_{preset}"})
    wanted = {"LTX2LoadCheckpoint", "LTX2LoadTextEncoder", "LTX2VideoDataset", "LTX2CacheDataset", "LTX2TrainLoRA"}
    kept = {key: node for key, node in prompt.items() if node["class_type"] in wanted}
    (train,) = [node for node in kept.values() if node["class_type"] == "LTX2TrainLoRA"]
    del train["inputs"]["previews"]
    train["inputs"] |= {"lora": ["preset", 0], "settings": ["preset", 1]}
    shown = {"class_type": "PreviewAny", "inputs": {"source": ["preset", 2]}}
    return {**kept, "preset": {"class_type": "LTX2TrainPreset", "inputs": {"preset": preset, **SMALL, **changes}}, "shown": shown}


def parts(adapter):
    """Parts of the blocks that the adapter changes."""
    return {name.split(".")[2] for name in adapter.layers}


@pytest.mark.parametrize(("preset", "changed"), [("motion", {"attn1", "attn2"}), ("voice", {"audio_attn1", "audio_attn2", "audio_ff"})])
def test_a_preset_trains_what_it_says(comfy, with_sound, preset, changed):
    outputs = comfy.run(training(preset, with_sound))
    adapter = load_adapter(comfy.base / "models" / "loras" / f"preset_{preset}.safetensors")
    assert parts(adapter) == changed and adapter.ranks == (4,)
    text = "".join(outputs["shown"]["text"])
    assert ".yaml" in text and "train.steps" in text
    events = (comfy.base / "output" / "ltx2_runs" / f"preset_{preset}" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [e["step"] for e in map(json.loads, events) if e["event"] == "step"] == [1, 2, 3]
