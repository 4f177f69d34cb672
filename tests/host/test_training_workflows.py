"""The shipped workflows that train, each run over HTTP in a real ComfyUI on tiny models: only sizes and numbers of steps differ."""

import json
import shutil

import pytest
import torch
from comfy_host import QUICK, shipped
from PIL import Image
from safetensors import safe_open

from ltx2core.checkpoint.adapter import load_adapter
from ltx2core.media.audio import decode_audio
from ltx2core.media.probe import probe
from ltx2core.media.write import write_audio, write_video

pytestmark = pytest.mark.host
PICTURE, SOUND = {"attn1", "attn2"}, {"audio_attn1", "audio_attn2"}
BETWEEN = {"audio_to_video_attn", "video_to_audio_attn"}
CONFIG = {
    "model_family": "ltxvideo2", "model_type": "lora", "max_train_steps": 2, "learning_rate": 1e-3, "lora_rank": 4, "optimizer": "adamw", "mixed_precision": "no", "seed": 1,
    "output_dir": "taken_over", "validation_disable": True, "checkpoint_step_interval": 0, "data_backend_config": "backends.json",
}  # fmt: skip
# Only a graphics card has blocks streamed to it.
ON_A_PROCESSOR = {"LTX2TrainSettings": {"steps": 4}, "LTX2MemorySettings": {"streamed_blocks": 0, "in_host_memory": "nothing"}}
BACKENDS = [{"id": "clips", "type": "local", "dataset_type": "video", "instance_data_dir": "ltx2_clips", "caption_strategy": "textfile", "resolution": 96,
             "video": {"num_frames": 9, "min_frames": 9}}]  # fmt: skip


@pytest.fixture(scope="module")
def given(comfy):
    """What the notes of the workflows ask a person to put into the input folder."""
    inputs = comfy.base / "input"
    Image.new("RGB", (200, 150), (200, 60, 40)).save(inputs / "example.png")
    write_video(inputs / "example.mp4", torch.arange(0, 200, 5, dtype=torch.uint8)[:, None, None, None].expand(-1, 96, 128, 3), 25.0)
    for folder in ("ltx2_voice", "ltx2_references"):
        (inputs / folder).mkdir()
    for clip in sorted((inputs / "ltx2_clips").glob("*.mp4")):
        shutil.copy(clip, inputs / "ltx2_references")
        if probe(clip).has_audio:
            write_audio(inputs / "ltx2_voice" / f"{clip.stem}.wav", decode_audio(clip, rate=48000))
            shutil.copy(clip.with_suffix(".txt"), inputs / "ltx2_voice")
    (inputs / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (inputs / "backends.json").write_text(json.dumps(BACKENDS), encoding="utf-8")


def run(comfy, name, **changes):
    """The finished workflow's outputs, and the paths of what its save nodes wrote."""
    outputs = comfy.run(shipped(name, **{**QUICK, **changes}))
    kept = [e for node in outputs.values() for kind in ("images", "audio") for e in node.get(kind, []) if e["type"] == "output"]
    return outputs, [comfy.base / e["type"] / e["subfolder"] / e["filename"] for e in kept]


def trained(comfy, name):
    """The adapter's file and the parts of the blocks that it changes."""
    path = comfy.base / "models" / "loras" / f"{name}.safetensors"
    return path, {layer.split(".")[2] for layer in load_adapter(path).layers}


def events(comfy, name, kind="step"):
    lines = (comfy.base / "output" / "ltx2_runs" / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [e for e in map(json.loads, lines) if e["event"] == kind]


@pytest.mark.parametrize(
    ("name", "lora", "parts", "films"),
    [
        ("subject_24gb", "my_subject", PICTURE | SOUND | BETWEEN, 2), ("lowest_vram", "my_small_lora", PICTURE, 0),
        ("style_with_sound", "my_style", PICTURE | SOUND | BETWEEN, 2), ("image_to_video_lora", "my_i2v_lora", PICTURE | SOUND | BETWEEN, 2),
    ],
)  # fmt: skip
def test_clips_become_a_lora_and_a_video_with_it(comfy, given, name, lora, parts, films):
    _, (video,) = run(comfy, name, **({} if name != "lowest_vram" else ON_A_PROCESSOR))
    info = probe(video)
    assert (info.width, info.height, info.frames, info.has_audio) == (128, 96, 17, True)
    assert trained(comfy, lora)[1] == parts
    found = comfy.get(f"/ltx2/runs/{lora}/metrics")["previews"]
    assert len(found) == films


def test_findings_and_the_memory_plan_are_shown(comfy, given):
    outputs, _ = run(comfy, "subject_24gb", LTX2TrainLoRA={"name": "planned"})
    (findings,) = [o["findings"] for o in outputs.values() if "findings" in o]
    assert {"memory", "sound"} & {f["topic"] for f in findings} and not [f for f in findings if f["severity"] == "error"]


def test_a_voice_is_trained_by_sound_alone(comfy, given):
    _, (sound,) = run(comfy, "voice")
    assert decode_audio(sound, rate=24000).samples.shape[1] == pytest.approx(17 / 25 * 24000, abs=2000)
    assert trained(comfy, "my_voice")[1] == SOUND | {"audio_ff"}
    assert all(e["video"] is None and e["audio"] > 0 for e in events(comfy, "my_voice"))


def test_pairs_become_an_ic_lora_that_names_its_reference(comfy, given):
    _, (video,) = run(comfy, "ic_lora")
    path, parts = trained(comfy, "my_ic_lora")
    assert probe(video).frames == 17 and parts == PICTURE | {"ff"}
    with safe_open(path, "pt") as file:
        assert file.metadata()["reference_downscale_factor"] == "1"


def test_a_run_goes_on_piece_by_piece(comfy, given):
    def name(run):
        return {"LTX2TrainLoRA": {"name": run}, "LTX2TrainSegment": {"name": run, "segment_steps": 2}}

    run(comfy, "first_lora", **name("grown"))
    longer = {"LTX2TrainSettings": {**QUICK["LTX2TrainSettings"], "steps": 9}}
    for _ in range(2):
        _, saved = run(comfy, "continue_run", **name("grown"), **longer)
        assert sorted(path.suffix for path in saved) == [".mp4", ".png"]
    assert [e["step"] for e in events(comfy, "grown")] == [*range(1, 9), 9]


def test_simpletuners_files_are_taken_over(comfy, given):
    outputs, _ = run(comfy, "simpletuner_import")
    said = "".join(t for o in outputs.values() for t in o.get("text", []))
    assert "learning_rate" in said or "nothing is lost" in said
    assert len(events(comfy, "taken_over")) == 2 and trained(comfy, "taken_over")[1]
