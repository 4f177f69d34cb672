"""Captions written by a graph, and several datasets in one run, on the canvas of a real ComfyUI."""

import json

import pytest
from comfy_host import HostError

from ltx2core.checkpoint.adapter import load_adapter

pytestmark = pytest.mark.host
SIZE = {"width": 96, "height": 64, "frames": 9, "frame_rate": 25.0, "instance_prompt": "", "trigger": "", "repeats": 0, "audio": True, "bucket_strategy": "aspect_ratio",
        "min_frames": 9, "recursive": False}  # fmt: skip


def dataset(folder="ltx2_clips", strategy="textfile", **values):
    return {"class_type": "LTX2VideoDataset", "inputs": {"folder": folder, "caption_strategy": strategy, **SIZE, **values}}


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


@pytest.fixture
def captioning():
    """The names serve as captions: what any captioner gives is a list of texts too."""

    def make(folder="made/captions", existing="keep"):
        return {
            "look": dataset(strategy="filename"), "frames": node("LTX2DatasetFrames", dataset=["look", 0], frames=2, first=1, clips=2),
            "seen": node("PreviewImage", images=["frames", 0]),
            "write": node("LTX2WriteCaptions", captions=["frames", 1], names=["frames", 1], folder=folder, existing=existing),
        }  # fmt: skip

    return make


def test_captions_are_written_and_read_by_the_next_node(comfy, captioning):
    graph = {**captioning(), "data": dataset(caption_folder=["write", 0]), "report": node("PreviewAny", source=["data", 1])}
    outputs = comfy.run(graph)
    written = sorted((comfy.base / "output" / "made" / "captions").iterdir())
    assert [(p.name, p.read_text(encoding="utf-8")) for p in written] == [(f"clip_00{i}.txt", f"clip_00{i}.mp4\n") for i in (1, 2)]
    assert len(outputs["seen"]["images"]) == 4 and outputs["write"]["text"][0].startswith("2 captions written")
    assert "2 clips" in outputs["report"]["text"][0] and "write one into clip_000.txt in " in outputs["report"]["text"][0]
    written[0].write_text("By hand.", encoding="utf-8")
    comfy.run({**captioning(), "write": {**captioning()["write"], "inputs": {**captioning()["write"]["inputs"], "captions": "Anew.", "names": "clip_001.mp4"}}})
    assert written[0].read_text(encoding="utf-8") == "By hand."


@pytest.mark.parametrize("folder", ["../../escaped", "/tmp/escaped_captions", "~/escaped"])
def test_captions_are_not_written_outside_of_the_hosts_folders(comfy, captioning, folder):
    with pytest.raises(HostError, match="outside of what a graph may write to"):
        comfy.run(captioning(folder))
    assert not list(comfy.base.parent.rglob("escaped*"))


def test_films_and_stills_train_together(comfy, tiny_names):
    """The films' first frames as stills in batches of two, two of them with masks, and the films alone, a vae setting on the way."""
    checkpoint, text_encoder = tiny_names
    from ltx2core.media.video import decode_video

    stills = comfy.base / "input" / "stills"
    stills.mkdir(exist_ok=True)
    from PIL import Image

    for i in range(3):
        frame = decode_video(comfy.base / "input" / "ltx2_clips" / f"clip_00{i}.mp4", frame_rate=25, num_frames=1)[0]
        Image.fromarray(frame.numpy()).save(stills / f"{i}.png")
        if i:
            (comfy.base / "input" / "where").mkdir(exist_ok=True)
            Image.linear_gradient("L").resize((frame.shape[1], frame.shape[0])).save(comfy.base / "input" / "where" / f"{i}.png")
    models = {"checkpoint": ["model", 0], "text_encoder": ["gemma", 0]}
    vae = {"vae": "manual", "vae_batch_size": 2, "vae_slicing": False, "vae_patch_conv": True, "vae_temporal_roll": False, "vae_tile": 0, "vae_tile_overlap": 64}
    graph = {
        "model": node("LTX2LoadCheckpoint", checkpoint=checkpoint, weight_dtype="auto", hub_file=""), "gemma": node("LTX2LoadTextEncoder", text_encoder=text_encoder),
        "films": dataset(), "options": node("LTX2DatasetOptions", **OPTIONS), "stills": dataset("stills", "filename", options=["options", 0], dataset_type="image", mask_folder="where", mask_type="binary"),
        "cached": node("LTX2CacheDataset", dataset=["films", 0], cache_folder="mixed", **models),
        "cached_stills": node("LTX2CacheDataset", dataset=["stills", 0], cache_folder="mixed", **models, **vae),
        "mix": node("LTX2MixDatasets", cache_1=["cached", 0], cache_2=["cached_stills", 0], share_1=3.0, share_2=1.0), "report": node("PreviewAny", source=["mix", 1]),
        "lora": node("LTX2LoRASettings", rank=2, alpha=2.0, dropout=0.0, targets="auto", patterns=""),
        "settings": node("LTX2TrainSettings", **TRAIN), "train": node("LTX2TrainLoRA", checkpoint=["model", 0], cache=["mix", 0], lora=["lora", 0], settings=["settings", 0], name="mixed"),
    }  # fmt: skip
    outputs = comfy.run(graph)
    assert outputs["report"]["text"][0] == "cache_1: 4 clips, 75% of the samples\ncache_2: 3 clips, 25% of the samples"
    assert len(load_adapter(comfy.base / "models" / "loras" / "mixed.safetensors").layers) > 0
    manifests = [json.loads(p.read_text(encoding="utf-8")) for p in (comfy.base / "output" / "mixed" / "manifests").glob("*.json")]
    assert sorted({clip["batch_size"] for m in manifests for clip in m["clips"]}) == [0, 2]
    assert {clip["source"]: bool(clip["mask"]) for m in manifests for clip in m["clips"] if clip["source"].endswith(".png")} == {"0.png": False, "1.png": True, "2.png": True}
    graph["mix"]["inputs"]["share_2"] = 0.0
    with pytest.raises(HostError, match="share_2 is 0"):
        comfy.run(graph)


OPTIONS = {
    "batch_size": 2, "max_samples": 0, "seed": 0, "windows_per_clip": 1, "max_frames": 0, "frame_interval": 0, "min_aspect_ratio": 0.0, "max_aspect_ratio": 0.0,
    "min_side": 0, "allow_zero_audio": False, "scene_threshold": 0.1, "window_seconds": 0.0, "duration_interval": 3.0, "min_seconds": 0.0, "max_seconds": 0.0, "caption_lines": "whole",
    "caption_table": "", "table_file_column": "", "table_caption_column": "", "table_fallback_column": "", "shuffles": 0, "shuffle_split_on": ",", "shuffle_keep_first": 0,
    "shuffle_include_original": True, "id": "",
}  # fmt: skip
TRAIN = {
    "steps": 3, "learning_rate": 1e-3, "warmup": 0, "batch_size": 1, "seed": 1, "first_frame_probability": 0.0, "audio_weight": 1.0, "caption_dropout": 0.0, "optimizer": "adamw",
    "schedule": "constant", "max_grad_norm": 1.0, "accumulation": 1, "checkpoint_every": 0, "validate_every": 0, "dtype": "float32", "gradient_checkpointing": True, "keep_checkpoints": 1,
    "validation_clips": 0, "weight_decay": 0.01,
}  # fmt: skip
