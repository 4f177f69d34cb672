"""The shipped workflows that train, each run over HTTP in a real ComfyUI on tiny models: only sizes and numbers of steps differ."""

import json

import pytest
from comfy_host import QUICK, shipped
from given_files import write_given
from safetensors import safe_open

from ltx2core.checkpoint.adapter import load_adapter
from ltx2core.media.audio import decode_audio
from ltx2core.media.probe import probe

pytestmark = pytest.mark.host
PICTURE, SOUND = {"attn1", "attn2"}, {"audio_attn1", "audio_attn2"}
BETWEEN = {"audio_to_video_attn", "video_to_audio_attn"}
# Only a graphics card has blocks streamed to it.
ON_A_PROCESSOR = {"LTX2TrainSettings": {"steps": 4}, "LTX2MemorySettings": {"streamed_blocks": 0, "in_host_memory": "nothing"}}


@pytest.fixture(scope="module")
def given(comfy):
    write_given(comfy.base / "input")


def run(comfy, name, **changes):
    """The finished workflow's outputs, and the paths of what its save nodes wrote."""
    outputs = comfy.run(shipped(name, **{**QUICK, **changes}))
    return outputs, saved_by(comfy, outputs)


def saved_by(comfy, outputs):
    kept = [e for node in outputs.values() for kind in ("images", "audio") for e in node.get(kind, []) if e["type"] == "output"]
    return [comfy.base / e["type"] / e["subfolder"] / e["filename"] for e in kept]


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
    prompt = shipped("ic_lora", **QUICK)
    nodes = {node["class_type"]: (key, node["inputs"]) for key, node in prompt.items()}
    # A film that follows the same reference, begun and ended with.
    inputs = {k: v for k, v in nodes["LTX2SampleReference"][1].items() if k in ("positive", "negative", "reference")}
    prompt["film"] = {"class_type": "LTX2TrainingPreview", "inputs": {**inputs, **QUICK["LTX2TrainingPreview"], "name": "film", "video_cfg": 4.0, "seed": 0}}
    nodes["LTX2TrainLoRA"][1]["previews"] = ["film", 0]
    (video,) = saved_by(comfy, comfy.run(prompt))
    assert len(comfy.get("/ltx2/runs/my_ic_lora/metrics")["previews"]) == 2
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
