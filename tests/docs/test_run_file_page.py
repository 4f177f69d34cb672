"""docs/run-file.md documents every field of a run file, and every field is read strictly."""

import json
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from run_file_page import SECTIONS, columns, type_name

from ltx2core.data import spec
from ltx2core.distributed.kinds import KINDS
from ltx2core.errors import LTX2Error
from ltx2core.memory import engine
from ltx2core.models.forward import CROSS_TIMESTEP_RULES
from ltx2core.runspec import read_run
from ltx2core.sample import settings as sampling
from ltx2core.strict import from_dict
from ltx2core.train import conditioning, crepa, rollout_settings, settings, tracking_settings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "run-file.md").read_text(encoding="utf-8")
# Section -> field -> every value that it may have.
CHOICES = {
    "The file": {"distributed": KINDS}, "A condition": {"kind": conditioning.CONDITION_KINDS},
    "lora": {"targets": settings.TARGET_PRESETS, "init": settings.INITS, "kind": settings.ADAPTER_KINDS},
    "train": {"schedule": settings.SCHEDULES, "optimizer": settings.OPTIMIZERS, "loss": settings.LOSSES, "av_cross_timestep": CROSS_TIMESTEP_RULES, "dtype": settings.DTYPE_NAMES},
    "train.timesteps": {"kind": settings.TIMESTEP_KINDS}, "train.rollout": {"ramp_shape": rollout_settings.RAMPS, "strategy": rollout_settings.STRATEGIES, "sampler": tuple(rollout_settings.ORDERS)},
    "train.crepa": {"schedule": crepa.SCHEDULES, "threshold_mode": crepa.THRESHOLD_MODES, "feature_source": crepa.FEATURE_SOURCES},
    "train.tracking": {"trackers": tracking_settings.TRACKERS}, "memory": {"precision": engine.PRECISIONS, "hosted": tuple(filter(None, engine.HOSTED))},
    "samples.settings": {"schedule": tuple(sampling.SCHEDULES), "sampler": sampling.SAMPLERS, "av_cross_timestep": ()},
    "A dataset": {name: values for name, values in spec._CHOICES.items()},
}  # fmt: skip


def rows(title):
    """The rows of a section's table, as lists of cells."""
    part = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()[2:] if line.startswith("|")]


@pytest.mark.parametrize("title", SECTIONS)
def test_every_field_has_its_row(title):
    table = rows(title)
    assert [(name.strip("`"), kind, default) for name, kind, default, _ in table] == columns(SECTIONS[title])
    assert all(len(meaning) > 8 and meaning.endswith(".") for *_, meaning in table)


@pytest.mark.parametrize("title", CHOICES)
def test_every_value_that_a_field_may_have_is_named(title):
    meanings = {name.strip("`"): meaning for name, _, _, meaning in rows(title)}
    for name, values in CHOICES[title].items():
        assert set(values) <= set(re.findall(r"`([\w-]+)`", meanings[name])), name


def test_links_lead_to_sections():
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in SECTIONS}
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= anchors


@pytest.mark.parametrize("title", SECTIONS)
def test_an_unknown_name_and_a_wrong_type_are_refused_by_name(title):
    kind = SECTIONS[title]
    whole = {f.name: "x" for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    for name, said, _ in columns(kind):
        with pytest.raises(LTX2Error, match=rf"has no option '{name}x'; did you mean"):
            from_dict(kind, {**whole, f"{name}x": 1}, title)
        if said in ("whole number", "number", "text", "true or false"):
            with pytest.raises(LTX2Error, match=rf"{re.escape(title)}\.{name} is .*; it must be"):
                from_dict(kind, {**whole, name: ["no"]}, title)


def test_the_example_is_read_and_relative_paths_lie_beside_the_file(tmp_path):
    example = json.loads(re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)[1])
    example["train"]["crepa"] = {"encoder": "dino"}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(example), encoding="utf-8")
    run = read_run(path)
    assert run.checkpoint == str(tmp_path / example["checkpoint"]) and run.specs[0].folder == str(tmp_path / "clips") and run.config.train.timesteps.mean == 0.2
    assert run.config.train.crepa.encoder == str(tmp_path / "dino")
    for encoder, expected in (("facebook/dinov2-small", "facebook/dinov2-small"), ("models/own", str(tmp_path / "models" / "own"))):
        (tmp_path / "models" / "own").mkdir(parents=True, exist_ok=True)
        example["train"]["crepa"] = {"encoder": encoder}
        path.write_text(json.dumps(example), encoding="utf-8")
        assert read_run(path).config.train.crepa.encoder == expected


@pytest.mark.parametrize(
    ("values", "said"),
    [({"dataset": {"folder": 5}}, "dataset.folder is 5"), ({"dataset": {"folder": "c", "mask_folder": ["m"]}}, "mask_folder"), ({"datasets": [3]}, "dataset is int"),
     ({"dataset": {"folder": "c"}, "samples": [3]}, r"samples\[0\] is int"), ({"caches": {"train": 3}}, "caches.train is 3")],
)  # fmt: skip
def test_a_folder_that_is_no_text_is_refused_by_name(tmp_path, values, said):
    (tmp_path / "run.json").write_text(json.dumps({"checkpoint": "a", "text_encoder": "b", **values}), encoding="utf-8")
    with pytest.raises(LTX2Error, match=said):
        read_run(tmp_path / "run.json")


def test_folders_of_a_dataset_stand_beside_the_file(tmp_path):
    dataset = {"folder": "c", "sound_folder": "s", "caption_folder": "t", "mask_folder": "m"}
    (tmp_path / "run.json").write_text(json.dumps({"checkpoint": "a", "text_encoder": "b", "dataset": dataset}), encoding="utf-8")
    [spec] = read_run(tmp_path / "run.json").specs
    assert {name: getattr(spec, name) for name in dataset} == {name: str(tmp_path / value) for name, value in dataset.items()}


def test_another_version_is_refused(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"version": 2, "checkpoint": "a", "text_encoder": "b", "dataset": {"folder": "c"}}), encoding="utf-8")
    with pytest.raises(LTX2Error, match="has version 2 and this pack reads version 1"):
        read_run(tmp_path / "run.json")


def test_names_of_types():
    assert [type_name(t) for t in (int, float | None, str | tuple[str, ...], bool)] == ["whole number", "number or null", "text or list", "true or false"]
