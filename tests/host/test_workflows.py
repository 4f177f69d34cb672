"""The shipped workflows, run over HTTP in a real ComfyUI on tiny models."""

import json

import av
import pytest
from build_workflows import files, text
from comfy_host import PACK, PACK_NAME, QUICK, error_of, shipped
from PIL import Image

from ltx2core.checkpoint.adapter import load_adapter
from ltx2core.demo_clips import write_demo_clips
from ltx2core.media.audio import decode_audio
from ltx2core.media.probe import probe
from ltx2core.media.write import write_audio

pytestmark = pytest.mark.host


def output_files(comfy, outputs):
    """Paths of all files that a prompt's save nodes wrote."""
    entries = [e for node in outputs.values() for kind in node.values() if isinstance(kind, list) for e in kind if isinstance(e, dict) and "filename" in e]
    return [comfy.base / e["type"] / e["subfolder"] / e["filename"] for e in entries]


@pytest.fixture(scope="module")
def trained(comfy):
    """Outputs of the shipped training workflow."""
    return comfy.run(shipped("first_lora", **QUICK))


@pytest.fixture(scope="module")
def media(comfy):
    """The picture and the sound that the sampling workflows name."""
    clip = write_demo_clips(comfy.base / "drawn", seed=9, count=1)[0]
    Image.new("RGB", (200, 150), (200, 60, 40)).save(comfy.base / "input" / "example.png")
    sound = decode_audio(clip, rate=48000)
    write_audio(comfy.base / "input" / "example.wav", sound)
    return sound


def test_files_are_those_that_the_graphs_describe(comfy):
    for path, content in files(comfy.object_info()).items():
        assert path.read_text(encoding="utf-8") == text(content), f"{path.name}: run python tests/host/build_workflows.py"


def test_each_has_a_picture_and_a_twin_links_to_its_models_and_no_foreign_node(comfy):
    info = comfy.object_info()
    paths = sorted((PACK / "workflows").glob("*.json"))
    assert len(paths) >= 16 and comfy.get("/workflow_templates")[PACK_NAME]
    for path in paths:
        with Image.open(path.with_suffix(".jpg")) as picture:
            assert (picture.format, picture.size) == ("JPEG", (960, 640)), path.name
        assert path.with_suffix(".jpg").stat().st_size < 200_000 and (path.parent / "api" / path.name).is_file()
        nodes = [n for n in json.loads(path.read_text(encoding="utf-8"))["nodes"] if n["type"] != "MarkdownNote"]
        homes = {info[n["type"]]["python_module"] for n in nodes}
        assert {h for h in homes if h != f"custom_nodes.{PACK_NAME}" and not h.startswith(("nodes", "comfy_extras."))} == set(), path.name
        loaded = [n for n in nodes if n["type"] in ("LTX2LoadCheckpoint", "LTX2LoadTextEncoder", "LTX2LoadUpscaler", "CheckpointLoaderSimple")]
        for node in loaded:
            (model,) = node["properties"]["models"]
            assert model["url"].startswith("https://huggingface.co/") and model["name"] in node["widgets_values"] and model["directory"], path.name


def test_training_writes_an_adapter_a_picture_and_a_video(comfy, trained):
    adapter = load_adapter(comfy.base / "models" / "loras" / "my_first_lora.safetensors")
    assert adapter.family == "2.0" and adapter.ranks == (32,) and len(adapter.layers) == 2 * 24
    picture, video = output_files(comfy, trained)
    assert Image.open(picture).size == (960, 540)
    info = probe(video)
    assert (info.width, info.height, info.frames, info.has_audio) == (128, 96, 17, True) and info.frame_rate == 25
    metrics = [json.loads(line) for line in (comfy.base / "output" / "ltx2_runs" / "my_first_lora" / "metrics.jsonl").read_text().splitlines()]
    assert [m["step"] for m in metrics if m["event"] == "step"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", ["text_to_video", "image_to_video", "sound_to_video"])
def test_sampling_workflows(comfy, trained, media, name):
    (video,) = output_files(comfy, comfy.run(shipped(name, **QUICK)))
    info = probe(video)
    assert (info.width, info.height, info.frames, info.has_audio) == (128, 96, 17, True)
    if name == "sound_to_video":
        heard = decode_audio(video, rate=48000).samples
        original = media.samples[:, : heard.shape[1]]
        length = min(heard.shape[1], original.shape[1])
        # AAC is lossy; the sound must still be the given one and no decoded latents.
        correlation = (heard[:, :length] * original[:, :length]).sum() / (heard[:, :length].norm() * original[:, :length].norm())
        assert correlation > 0.9


def test_finished_run_is_not_trained_again(comfy, trained):
    before = (comfy.base / "output" / "ltx2_runs" / "my_first_lora" / "metrics.jsonl").stat().st_mtime_ns
    comfy.post("/free", {"unload_models": True, "free_memory": True})
    comfy.run(shipped("first_lora", **QUICK))
    metrics = (comfy.base / "output" / "ltx2_runs" / "my_first_lora" / "metrics.jsonl").read_text().splitlines()
    assert sum(json.loads(m)["event"] == "step" for m in metrics) == 6
    assert before


def test_interrupt_saves_and_the_same_prompt_finishes(comfy, trained):
    changes = {**QUICK, "LTX2TrainSettings": {**QUICK["LTX2TrainSettings"], "steps": 100, "checkpoint_every": 0, "validate_every": 0}}
    prompt = shipped("first_lora", **changes, LTX2TrainLoRA={"name": "interrupted"})
    run = comfy.base / "output" / "ltx2_runs" / "interrupted"
    prompt_id = comfy.submit(prompt)
    wait_for_steps(run, 5)
    comfy.interrupt()
    done = comfy.wait(prompt_id)
    assert error_of(done) == "interrupted"
    reached = len([m for m in (run / "metrics.jsonl").read_text().splitlines() if json.loads(m)["event"] == "step"])
    assert 5 <= reached < 100
    log = len(comfy.log)
    comfy.run(prompt)
    assert f"goes on at step {reached} of 100" in comfy.log[log:]
    assert (comfy.base / "models" / "loras" / "interrupted.safetensors").is_file()


def wait_for_steps(run, count):
    import time

    for _ in range(600):
        path = run / "metrics.jsonl"
        if path.exists() and sum('"step"' in line for line in path.read_text().splitlines()) >= count:
            return
        time.sleep(0.1)
    raise AssertionError("training did not start")


def test_bad_input_is_one_sentence(comfy):
    def failure(prompt):
        done = comfy.wait(comfy.submit(prompt))
        assert done["status"]["status_str"] == "error"
        return error_of(done)

    assert "There is no folder" in failure(shipped("first_lora", **{**QUICK, "LTX2VideoDataset": {"folder": "nowhere"}}))
    message = failure(shipped("first_lora", **{**QUICK, "LTX2TrainLoRA": {"name": "../../outside"}}))
    assert "cannot be a file name" in message


def test_videos_can_be_decoded_to_the_end(comfy, trained):
    for path in output_files(comfy, trained)[1:]:
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 17
