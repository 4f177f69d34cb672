"""The canvas in a real browser: shipped graphs open, the panels live, the buttons act."""

import json
import re

import pytest
import torch
from comfy_host import PACK, QUICK, training

from ltx2core.media.write import write_video
from ltx2core.runspec import RunFile
from ltx2core.simpletuner.canvas import canvas_files
from ltx2core.simpletuner.importer import import_config
from ltx2core.strict import from_dict
from workflows.graph import Graph

pytestmark = pytest.mark.host
NAMES = sorted(p.stem for p in (PACK / "workflows").glob("*.json"))


@pytest.fixture(scope="module")
def imported(comfy, tmp_path_factory):
    """The canvas file of SimpleTuner's files with two datasets and settings of the VAE; its API twin lies beside it."""
    video = {"id": "films", "type": "local", "dataset_type": "video", "instance_data_dir": "ltx2_clips", "probability": 3, "video": {"num_frames": 9, "min_frames": 9}}
    named = {**video, "id": "named", "probability": 1, "caption_strategy": "filename", "train_batch_size": 2}
    config = {"max_train_steps": 2, "vae_batch_size": 1, "vae_enable_tiling": True, "vae_enable_slicing": True, "ramtorch": True, "base_model_precision": "int8-quanto"}
    run = from_dict(RunFile, import_config(config, [video, named], comfy.base / "input").run, "run")
    folder = tmp_path_factory.mktemp("imported")
    for path, content in canvas_files(run, Graph, folder / "imported.json")[0].items():
        path.write_text(json.dumps(content), encoding="utf-8")
    return folder / "imported.json"


@pytest.fixture(scope="module")
def opened(comfy, visit, imported, renderer):
    """Every shipped graph and the imported one, opened one after another on one page."""
    files = {name: PACK / "workflows" / f"{name}.json" for name in NAMES} | {"imported": imported}
    seen = visit("open_workflows.mjs", url=comfy.url, files={name: str(path) for name, path in files.items()}, vue=renderer == "html")
    assert seen["complaints"] == []
    return seen["graphs"]


def test_every_shipped_workflow_opens_whole(opened):
    for name in NAMES:
        found = opened[name]
        assert (found["red"], found["dialogs"]) == ([], []), name
        api = json.loads((PACK / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
        # The page adds widgets of its own to the host's nodes (a player for sound).
        shown = {k: (n["class_type"], {i: v for i, v in n["inputs"].items() if i in api.get(k, n)["inputs"] or "LTX2" in n["class_type"]}) for k, n in found["prompt"].items()}
        assert shown == {k: (n["class_type"], n["inputs"]) for k, n in api.items()}, f"{name}: the canvas would queue another prompt than its API twin"


def test_an_imported_workflow_opens_whole(opened, imported):
    """Every node is known and every value is taken."""
    found = opened["imported"]
    assert (found["red"], found["dialogs"]) == ([], [])
    api = json.loads(imported.with_suffix(".api.json").read_text(encoding="utf-8"))
    assert {"LTX2MixDatasets", "LTX2DatasetOptions"} <= {n["class_type"] for n in api.values()}
    for key, node in api.items():
        assert found["prompt"][key]["class_type"] == node["class_type"]
        assert found["prompt"][key]["inputs"].items() >= node["inputs"].items() if node["class_type"].startswith("LTX2") else True


@pytest.fixture(scope="module")
def visited(comfy, visit, renderer):
    """What a person saw who trained, paused, resumed from a second tab, saved, reloaded and stopped: up to the pause in one renderer, in the other from then on."""
    run = f"browsed_{renderer}"
    small = {kind: dict(values) for kind, values in QUICK.items() if kind in ("LTX2VideoDataset", "LTX2TrainSettings", "LTX2SampleT2V", "LTX2TrainingPreview")}
    small["LTX2TrainSettings"] |= {"steps": 100_000, "checkpoint_every": 0, "validate_every": 10}
    workflow = str(PACK / "workflows" / "first_lora.json")
    frames = torch.arange(0, 256, 4, dtype=torch.uint8)[:, None, None, None].expand(-1, 96, 128, 3)
    previews = comfy.base / "output" / "ltx2_runs" / run / "previews"
    previews.mkdir(parents=True)
    write_video(previews / "step-000002-hat.mp4", frames, 24.0)
    html = renderer == "html"
    try:
        seen = visit("train.mjs", url=comfy.url, workflow=workflow, widgets=small, run=run, vue=html)
    except Exception:
        comfy.interrupt()  # or other tests would wait behind the run
        raise
    assert seen["html"] == [html, not html, not html]
    return run, seen


def test_the_chart_moves_and_reads(visited):
    _, seen = visited
    first, later = seen["moving"]
    assert seen["idle"]["points"] == 0 and 3 < first["points"] < later["points"] and later["validation"] >= 1
    assert re.search(r"step \d+/100000 · loss [\d.]+ · [\d.e-]+ s/step · .+ left · [\d.]+ of [\d.]+ GiB", later["status"]), later["status"]
    for reading in (seen["hovered"], seen["keyed"]):
        assert re.search(r"video [\d.]+ @\d+.*sound [\d.]+ @\d+.*validation video [\d.]+ @\d+", reading), reading


def test_the_panel_is_below_all_else(visited):
    """Whichever of the pack's scripts the page has read first."""
    widgets = visited[1]["widgets"]
    assert widgets[0] == "name" and widgets[-1] == "ltx2_chart"


def test_buttons_have_names_and_wait_for_a_run(visited):
    run, seen = visited
    assert all(b["disabled"] and run in b["label"] for b in seen["idle"]["buttons"].values())
    assert not any(b["disabled"] for b in seen["moving"][1]["buttons"].values())


def test_a_pause_holds_and_says_that_the_queue_waits(visited):
    _, seen = visited
    assert seen["paused"]["last"] == seen["stillPaused"]["last"] and "queue waits" in seen["stillPaused"]["notice"]
    assert seen["stillPaused"]["buttons"]["pause"]["text"] == "Resume"


def test_a_second_tab_sees_and_rules_the_same_run(visited):
    _, seen = visited
    assert seen["second"]["points"] >= seen["stillPaused"]["points"] - 1
    assert seen["resumed"]["last"] > seen["stillPaused"]["last"] and seen["secondMoves"]["last"] > seen["stillPaused"]["last"]


def test_saving_goes_on_and_a_reload_loses_nothing(comfy, visited):
    run, seen = visited
    step = int(re.search(r"Saved at step (\d+)", seen["saved"]["note"]).group(1))
    assert list((comfy.base / "output" / "ltx2_runs" / run).glob("state-*.safetensors")), "no state on disk"
    assert seen["reloaded"]["points"] >= step - 1 and seen["reloadedMoves"]["last"] > seen["reloaded"]["last"]


def test_stopping_hands_on_the_adapter_and_the_next_queue_goes_on(comfy, visited):
    run, seen = visited
    assert not seen["complaints"]
    assert (comfy.base / "models" / "loras" / f"{run}.safetensors").is_file()
    mark = json.loads((comfy.base / "output" / "ltx2_runs" / run / "ended.json").read_text(encoding="utf-8"))
    assert mark["target"] == 100_000 and mark["step"] >= seen["reloadedMoves"]["last"]
    outputs = comfy.run(training(run, steps=mark["step"] + 2, checkpoint_every=0)[0])
    (record,) = [o["ltx2_run"][0] for o in outputs.values() if "ltx2_run" in o]
    assert record["steps"] == mark["step"] + 2


def test_the_newest_preview_plays_in_a_loop(visited):
    _, seen = visited
    preview = seen["preview"]
    assert preview["time"] > 0.1 and preview["loop"] and preview["muted"] and preview["width"] == 128
    assert preview["label"] == "Preview at step 2 hat" and seen["reloaded"]["previews"] == 2  # and the one that the run made at its start


def test_the_dataset_shows_its_clips_and_what_was_left_out(visited):
    _, seen = visited
    for strip in (seen["strip"], seen["stripAgain"]):
        text = strip["text"]
        assert "4 clips, " in text and ", 1 left out" in text and "128x96@17 · 0.68 s" in text and "unreadable.mp4" in text
        assert strip["pictures"] == [[128, 96]] * 4
