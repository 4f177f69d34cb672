"""Validation from the command line: killed midway, on datasets, and what is wrong said in one sentence."""

import csv
import json
import time
from dataclasses import replace

import pytest
import torch
from forked import Forked
from PIL import Image

from ltx2core.checkpoint.adapter import Adapter, save_adapter
from ltx2core.cli import main
from ltx2core.demo_clips import write_demo_clips
from ltx2core.errors import LTX2Error
from ltx2core.media.audio import decode_audio
from ltx2core.sample.plan import Column, Plan
from ltx2core.sample.recipe import read_recipe
from ltx2core.sample.validation_file import read_validation
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma

SIZE = {"width": 96, "height": 64, "frames": 9}


@pytest.fixture
def file(tmp_path, make_adapter):
    write_tiny_checkpoint(tmp_path / "tiny.safetensors")
    write_tiny_gemma(tmp_path / "gemma.safetensors")
    save_adapter(tmp_path / "mine.safetensors", make_adapter("mine"))
    path = tmp_path / "validation.json"
    path.write_text(json.dumps({
        "checkpoint": "tiny.safetensors", "text_encoder": "gemma.safetensors", "output": "out", "prompts": {"a": "A red circle.", "b": "A green square."},
        "adapters": [{"file": "mine.safetensors"}], "seeds": [1, 2], "settings": {**SIZE, "steps": 2, "video_cfg": 2.0},
    }), encoding="utf-8")  # fmt: skip
    return path


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")
    return path


def cells(path):
    return sorted(p for p in (path.parent / "out").glob("*__*.mp4"))


def test_a_killed_process_goes_on(file):
    change(file, settings={**SIZE, "steps": 12, "video_cfg": 2.0}, prompts={"a": "A red circle."})
    process, end = Forked(file.parent / "said", 1, "validate", file, "--device", "cpu"), time.monotonic() + 120
    while not cells(file) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.terminate()
    process.communicate(timeout=60)
    before = {p: p.read_bytes() for p in cells(file)}
    assert 1 <= len(before) < 4 and not (file.parent / "out" / "grid.mp4").exists()
    assert main(["validate", str(file), "--device", "cpu"]) == 0
    assert len(cells(file)) == 4 and all(p.read_bytes() == content for p, content in before.items())
    assert (file.parent / "out" / "grid.mp4").is_file()


def test_files_and_table(file, capsys):
    assert main(["validate", str(change(file, scores=True, seeds=3, strengths=[0.5, 1.0])), "--device", "cpu"]) == 0
    rows = list(csv.DictReader((file.parent / "out" / "cells.csv").open(encoding="utf-8", newline="")))
    assert [(r["name"], r["column"]) for r in rows] == [(n, c) for n in "ab" for c in ("base", "mine x0.5", "mine x1")]
    assert all(0 <= float(r["motion"]) <= 1 for r in rows) and "6 of 6 cells" in capsys.readouterr().out


def test_on_a_dataset(file):
    """First frame and sound of the cached clips; the original stands beside them, and is what the clip shows."""
    clips = file.parent / "clips"
    write_demo_clips(clips, count=3)
    change(file, prompts="", validation_using_datasets=True, datasets=[{"folder": "nothing", "id": "other"}, {"folder": "clips", "id": "shown", **SIZE}], eval_dataset_id="shown", clips=2,
           dataset_mode="image and sound to video", seeds=1)  # fmt: skip
    assert main(["validate", str(file), "--device", "cpu"]) == 0
    found = {}
    for path in cells(file):
        recipe = read_recipe(path)
        found.setdefault(recipe["label"], {})[path.name.split("__")[1]] = (path, recipe)
    assert len(found) == 2 and all(set(columns) == {"original", "base", "mine"} for columns in found.values())
    for columns in found.values():
        recipe = columns["mine"][1]
        assert recipe["given"]["mode"] == "image and sound to video" and (recipe["settings"]["width"], recipe["settings"]["frames"]) == (96, 9)
        assert recipe["prompt"] and recipe["negative"] == ""
        # Not what the tiny, random models make of it: the clip's own samples.
        sounds = [decode_audio(f, rate=24000).samples[:, :8000] for f in (next(clips.glob(f"{recipe['label']}.*4")), columns["base"][0], columns["mine"][0])]
        assert all((sounds[0] * s).sum() / (sounds[0].norm() * s.norm()) > 0.98 for s in sounds[1:])
        assert {"first_latents", "sound_latents", "heard"} <= recipe["given"].keys() and "settings" in recipe


def test_references_of_a_dataset(file, make_adapter, capsys):
    """An IC-LoRA is shown each clip's own reference, at the size that it was cached in."""
    ic = replace(make_adapter("edges"), metadata={"reference_downscale_factor": "2"})
    save_adapter(file.parent / "edges.safetensors", ic, torch.float32)
    sizes = {"clips": {"width": 128, "height": 64}, "small": {"width": 64, "height": 32}}
    for seed, folder in enumerate(sizes):
        write_demo_clips(file.parent / folder, count=2, seed=seed)
    data = {name: {"folder": name, "id": name, "frames": 9, "bucket_strategy": "fixed", **size} for name, size in sizes.items()}
    change(file, prompts="", validation_using_datasets=True, datasets=[data["clips"]], references=data["small"], adapters=[{"file": "edges.safetensors"}], seeds=1)
    assert main(["validate", str(file), "--device", "cpu"]) == 0
    keys = {(r["label"], p.name.split("__")[1]): r["given"].get("reference") for p in cells(file) for r in [read_recipe(p)]}
    assert all((key is not None) == (column == "edges") for (_, column), key in keys.items()) and len({k[0] for k in keys.values() if k}) == 2
    before = len(cells(file))
    assert main(["validate", str(change(file, references=data["clips"])), "--device", "cpu"]) == 1 and len(cells(file)) == before
    assert "A cached reference has 9 frames of 128x64 and the adapter wants 9 frames of 64x32" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"prompts": ""}, "neither prompts nor validation_using_datasets"),
        ({"prompts": "gone.json"}, "gone.json cannot be read"),
        ({"prompts": {}, "validation_using_datasets": True}, "datasets is empty"),
        ({"validation_using_datasets": True, "datasets": [{"folder": "x", "id": "a"}, {"folder": "y", "id": "b"}], "eval_dataset_id": "c"}, "eval_dataset_id is 'c'; choose one of a, b"),
        ({"adapters": [{"file": "gone.safetensors"}]}, "gone.safetensors"),
        ({"adapters": [{"file": "mine.safetensors", "power": 2}]}, "power"),
        ({"seeds": "x"}, "'x' is no seed"),
        ({"image": "gone.png"}, "gone.png; check the path."),
        ({"sound": "gone.wav"}, "gone.wav"),
        ({"keyframes": [{"image": "gone.png", "frame": -1}]}, "gone.png"),
        ({"keyframes": [{"frame": -1}]}, "image"),
        ({"preset": "best"}, "preset 'best' is not known"),
        ({"settings": {"widht": 96}}, "widht"),
        ({"dataset_mode": "sound", "prompts": "", "validation_using_datasets": True, "datasets": [{"folder": "clips", **SIZE}]}, "dataset mode 'sound'"),
    ],
)
def test_bad_files(file, capsys, values, said):
    write_demo_clips(file.parent / "clips", count=1)
    assert main(["validate", str(change(file, **values)), "--device", "cpu"]) == 1
    printed = capsys.readouterr().err
    assert said in printed and "Traceback" not in printed and not cells(file)


def test_not_json(tmp_path):
    (tmp_path / "v.json").write_text("{", encoding="utf-8")
    with pytest.raises(LTX2Error, match="cannot be read"):
        read_validation(tmp_path / "v.json")


def test_paths_of_the_file_stand_beside_it(file):
    read = read_validation(change(file, adapters=[{"file": "mine.safetensors"}, {"file": "Lightricks/LTX-2:x.safetensors"}]))
    assert [a.file for a in read.adapters] == [str(file.parent / "mine.safetensors"), "Lightricks/LTX-2:x.safetensors"]
    assert read.checkpoint == str(file.parent / "tiny.safetensors")


def test_pictures_at_chosen_frames(file):
    for name, colour in (("first", (200, 60, 40)), ("last", (20, 60, 240))):
        Image.new("RGB", (100, 80), colour).save(file.parent / f"{name}.png")
    pictures = [{"image": "last.png", "frame": -1, "strength": 0.8}]
    assert main(["validate", str(change(file, image="first.png", keyframes=pictures, seeds=1, prompts={"a": "A circle."}, adapters=[])), "--device", "cpu"]) == 0
    (path,) = cells(file)
    assert [p[:2] for p in read_recipe(path)["given"]["pictures"]] == [[0, 1.0], [-1, 0.8]]


def test_the_distilled_adapter_brings_its_settings(tiny_models, make_adapter, features, settings):
    """As the published one is found by its name: guidance 1, 8 steps, its own sigmas; the base beside it keeps the others."""
    from ltx2core.sample.plan import library_rows
    from ltx2core.sample.prompts import EncodedPrompts, from_features

    distilled = replace(make_adapter(), name="ltx-2-19b-distilled-lora-384")
    prompts = EncodedPrompts((from_features("a", features(0)),), from_features("negative", features(1)))
    plan = Plan(library_rows(prompts, settings), (Column("fast", ((distilled, 1.0),)), Column("off", ((distilled, 0.0),))), (1,), prompts.negative)
    base, fast, off = (c.recipe.settings for c in plan.cells(tiny_models))
    assert (fast["video_cfg"], fast["audio_cfg"], fast["steps"], fast["schedule"]) == (1.0, 1.0, 8, "distilled")
    assert base == off and base["video_cfg"] == 3.0 and base["steps"] == 2


def test_adapters_of_one_label_act_together(file, make_adapter):
    save_adapter(file.parent / "other.safetensors", make_adapter("other", 1), torch.float32)
    change(file, adapters=[{"file": "mine.safetensors", "label": "both"}, {"file": "other.safetensors", "label": "both", "strength": 0.5}], seeds=1, prompts={"a": "A circle."})
    assert main(["validate", str(file), "--device", "cpu"]) == 0
    uses = {read_recipe(p)["label"] + "/" + p.name.split("__")[1]: [(a["name"], a["strength"]) for a in read_recipe(p)["adapters"]] for p in cells(file)}
    assert uses == {"a/base": [], "a/both": [("mine", 1.0), ("other", 0.5)]}


def test_family_is_checked_before_anything_is_made(file, make_adapter, capsys):
    save_adapter(file.parent / "new.safetensors", Adapter("new", dict(make_adapter().layers), "2.3"))
    assert main(["validate", str(change(file, adapters=[{"file": "new.safetensors"}])), "--device", "cpu"]) == 1
    assert "2.3" in capsys.readouterr().err and not cells(file)
