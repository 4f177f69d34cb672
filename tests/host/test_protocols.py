"""The four services inside a real ComfyUI, called by a probe node; see probe/__init__.py."""

import json
from pathlib import Path

import pytest
from comfy_host import error_of

pytestmark = pytest.mark.host


def prompt(action, **values):
    return {"1": {"class_type": "TestProbe", "inputs": {"action": action, "values": json.dumps(values)}}}


@pytest.fixture(scope="module")
def probe(comfy):
    return lambda action, **values: json.loads(comfy.run(prompt(action, **values))["1"]["text"][0])


@pytest.fixture(scope="module")
def stay(probe):
    return probe("residency")


def test_module_is_on_the_device_inside_the_block(stay):
    assert stay["said"] == stay["expected"]
    for when in ("nested_first", "nested_second", "again", "after_failure"):
        assert stay[when]["device"] == stay["expected"] and stay[when]["managed"], when
    assert not stay["before"]["managed"] and stay["after"]["managed"]


def test_the_host_evicts_and_release_forgets(stay):
    for when in ("evicted", "released"):
        assert stay[when]["device"] == "cpu" and not stay[when]["managed"], when
    assert stay["same_weights"]


def test_training_works_after_an_eviction_under_inference_mode(stay):
    """The host runs nodes and evicts models under inference mode, whose tensors cannot be trained through."""
    assert stay["before"]["inference"] and stay["after"]["inference"], "the block must not leave the mode changed"
    assert stay["same_module"] and not stay["again"]["inference_weights"]
    assert stay["gradient"] > 0


def test_each_evicts_the_other_under_pressure(probe):
    seen = probe("pressure")
    if seen["device"] == "cpu":
        pytest.skip("on a CPU nothing is ever evicted for room; run this on a GPU")
    assert seen["theirs"] == seen["ours"] == seen["theirs_again"] != "cpu"
    assert seen["theirs_evicted"] == seen["ours_evicted"] == "cpu"
    assert seen["outer"]["device"] == seen["theirs"] and not seen["outer"]["inference_weights"]


def test_progress_arrives_with_prompt_node_metrics_and_preview(comfy):
    with comfy.events("probe-client") as events:
        prompt_id = comfy.submit(prompt("progress"), "probe-client")
        seen = list(events.until_end(prompt_id))
    ours = [data for event, data in seen if event == "ltx2.progress"]
    assert all(d["prompt_id"] == prompt_id and d["node"] == "1" for d in ours)
    assert [(d["stage"], d["done"], d["total"], d["text"]) for d in ours] == [
        ("probe", 1, 3, "a step"), ("probe", 2, 3, "a step"), ("probe", 3, 3, "a step"), ("second", 7, 9, ""),
    ]  # fmt: skip
    assert ours[1]["metrics"] == {"loss": 0.25}
    bars = [(d["value"], d["max"]) for event, d in seen if event == "progress"]
    assert bars == [(1, 3), (2, 3), (3, 3), (7, 9)]
    pictures = [data for event, data in seen if event == "binary"]
    assert pictures and all(b"\xff\xd8\xff" in p for p in pictures), "a JPEG preview"
    messages = [data for event, data in seen if event == "ltx2.message"]
    assert [(m["level"], m["text"]) for m in messages] == [("info", "A sentence of level info."), ("warning", "A sentence of level warning.")]
    assert "[LTX-2 Studio] A sentence of level warning." in comfy.log


@pytest.mark.parametrize("raises", ["ours", "theirs"])
def test_cancel_is_seen_between_steps_and_ends_as_interrupted(comfy, tmp_path, raises):
    report = tmp_path / "saved.json"
    with comfy.events("probe-client") as events:
        prompt_id = comfy.submit(prompt("stop", raises=raises, report=str(report)), "probe-client")
        next(d for event, d in events.until_end(prompt_id) if event == "ltx2.progress" and d["done"] >= 3)
        comfy.interrupt()
        done = comfy.wait(prompt_id)
    assert error_of(done) == "interrupted"
    saved = json.loads(report.read_text(encoding="utf-8"))
    assert 3 <= saved["steps"] < 3000 and saved["still_requested"]
    # The flag does not outlive its prompt.
    assert comfy.wait(comfy.submit(prompt("progress", again=raises)))["status"]["status_str"] == "success"


def test_paths_are_those_of_the_host(comfy, probe, tiny_names):
    checkpoint, text_encoder = tiny_names
    folder = comfy.base / "models" / "text_encoders" / "a-folder"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    names = [("checkpoint", checkpoint), ("text_encoder", text_encoder), ("text_encoder", "a-folder")]
    try:
        seen = probe("paths", names=names, missing="nothing.safetensors")
    finally:
        (folder / "config.json").unlink()
        folder.rmdir()
    assert Path(seen[checkpoint]) == comfy.base / "models" / "checkpoints" / checkpoint
    assert Path(seen[text_encoder]) == comfy.base / "models" / "text_encoders" / text_encoder
    assert Path(seen["a-folder"]) == folder
    assert seen["loras_dir"] in seen["listed_loras"]
    assert Path(seen["output_dir"]) == comfy.base / "output" and Path(seen["cache_dir"]).is_relative_to(comfy.base / "output")
    assert "nothing.safetensors" in seen["error"] and "checkpoints" in seen["error"]
