"""SimpleTuner's files and the preflight on the canvas of a real ComfyUI, with tiny models; paths that lead out are refused."""

import json

import pytest
from comfy_host import HostError

from ltx2core.runspec import read_run
from ltx2core.simpletuner.canvas import canvas_files
from ltx2core.simpletuner.importer import import_files
from workflows.graph import Graph

pytestmark = pytest.mark.host
CONFIG = {
    "model_family": "ltxvideo2", "model_type": "lora", "max_train_steps": 2, "learning_rate": 1e-3, "train_batch_size": 2, "lora_rank": 4, "lora_dropout": 0.0,
    "optimizer": "adamw", "mixed_precision": "no", "checkpoint_step_interval": 0, "seed": 1, "output_dir": "imported", "validation_disable": True,
}  # fmt: skip
BACKENDS = [{"id": "clips", "type": "local", "dataset_type": "video", "instance_data_dir": "ltx2_clips", "caption_strategy": "textfile", "resolution": 96,
             "video": {"num_frames": 9, "min_frames": 9}}]  # fmt: skip


@pytest.fixture(scope="module")
def files(comfy):
    folder = comfy.base / "input"
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (folder / "datasets.json").write_text(json.dumps(BACKENDS), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def prompt(files, tiny_names):
    """Import, check, cache and train; ``own``: changes by node."""

    def make(**own):
        checkpoint, text_encoder = tiny_names
        nodes = {
            "model": ("LTX2LoadCheckpoint", {"checkpoint": checkpoint, "weight_dtype": "auto", "hub_file": ""}),
            "gemma": ("LTX2LoadTextEncoder", {"text_encoder": text_encoder}),
            "import": ("LTX2ImportSimpleTuner", {"config": "config.json", "datasets": "datasets.json", "which": 1, "root": ""}),
            "check": ("LTX2Preflight", {"dataset": ["import", 2], "checkpoint": ["model", 0], "text_encoder": ["gemma", 0], "lora": ["import", 3], "settings": ["import", 4], "on_error": "stop"}),
            "cache": ("LTX2CacheDataset", {"dataset": ["check", 0], "checkpoint": ["model", 0], "text_encoder": ["gemma", 0], "cache_folder": "imported_cache"}),
            "train": ("LTX2TrainLoRA", {"checkpoint": ["model", 0], "cache": ["cache", 0], "lora": ["import", 3], "settings": ["import", 4], "name": ["import", 6]}),
        }  # fmt: skip
        return {key: {"class_type": kind, "inputs": {**inputs, **own.get(key, {})}} for key, (kind, inputs) in nodes.items()}

    return make


def test_simpletuners_files_train_on_the_canvas(comfy, prompt):
    outputs = comfy.run(prompt())
    assert "nothing is lost" in outputs["import"]["text"][0] and (comfy.base / "models" / "loras" / "imported.safetensors").is_file()
    findings = outputs["check"]["findings"]
    assert {"severity", "text", "advice"} <= findings[0].keys() and not [f for f in findings if f["severity"] == "error"]
    assert any(f["topic"] == "memory" for f in findings)
    assert (comfy.base / "output" / "imported_cache" / "latents").is_dir()


def test_every_dataset_of_the_files_can_be_had(comfy, prompt, files):
    """A second one to train on, and the held-out one; beyond them the numbers are told."""
    held = {**BACKENDS[0], "id": "held", "dataset_type": "eval"}
    (files / "three.json").write_text(json.dumps([*BACKENDS, {**BACKENDS[0], "id": "more"}, held]), encoding="utf-8")

    def chosen(which):
        nodes = {"import": prompt()["import"]}
        nodes["import"]["inputs"] |= {"datasets": "three.json", "which": which}
        return comfy.run(nodes)["import"]["text"][0]

    assert chosen(3).splitlines()[-4:] == [
        "Datasets to choose from with which; this one is 3:", "  1 clips: its clips are trained on", "  2 more: its clips are trained on", "  3 held: its clips are held out",
    ]  # fmt: skip
    with pytest.raises(HostError, match="have 3 datasets and which is 4"):
        chosen(4)


def test_a_changed_datasets_file_is_read_again_where_the_configuration_names_it(comfy, prompt, files):
    (files / "naming.json").write_text(json.dumps({**CONFIG, "data_backend_config": "named.json"}), encoding="utf-8")
    for side in (96, 128):
        (files / "named.json").write_text(json.dumps([{**BACKENDS[0], "resolution": side}]), encoding="utf-8")
        nodes = {"import": prompt()["import"]}
        nodes["import"]["inputs"] |= {"config": "naming.json", "datasets": ""}
        assert f"{side}x{side} pixels of area" in comfy.run(nodes)["import"]["text"][0]


def test_a_run_that_would_fail_stops_at_the_check(comfy, prompt, files):
    (files / "audio.json").write_text(json.dumps({**CONFIG, "peft_lora_target_modules": ["no_such_layer"], "output_dir": "stopped"}), encoding="utf-8")
    with pytest.raises(HostError, match="no_such_layer"):
        comfy.run(prompt(**{"import": {"config": "audio.json"}}))
    (files / "unknown.json").write_text(json.dumps({**CONFIG, "lerning_rate": 1}), encoding="utf-8")
    with pytest.raises(HostError, match="learning_rate"):
        comfy.run(prompt(**{"import": {"config": "unknown.json"}}))


@pytest.mark.parametrize("folder", ["../../escaped", "/tmp/escaped_cache", "~/escaped", "custom/../../../escaped"])
def test_a_cache_is_not_written_outside_of_the_hosts_folders(comfy, prompt, folder):
    with pytest.raises(HostError, match="outside of what a graph may write to"):
        comfy.run(prompt(cache={"cache_folder": folder}))
    assert not list(comfy.base.parent.rglob("escaped*"))


def test_the_imported_workflow_is_taken_by_the_host(comfy, files, tmp_path, tiny_names):
    """Two datasets to train on and a held-out one, all of them wired."""
    several = [{**BACKENDS[0], "probability": 1}, {**BACKENDS[0], "id": "more", "probability": 2}, {**BACKENDS[0], "id": "held", "dataset_type": "eval"}]
    (files / "several.json").write_text(json.dumps(several), encoding="utf-8")
    imported = import_files(files / "config.json", files / "several.json").run
    (tmp_path / "run.json").write_text(json.dumps({**imported, "checkpoint": tiny_names[0], "text_encoder": tiny_names[1], "name": "from_graph"}), encoding="utf-8")
    made, left = canvas_files(read_run(tmp_path / "run.json"), Graph, tmp_path / "imported.json")
    nodes = made[tmp_path / "imported.api.json"]
    assert [n["class_type"] for n in nodes.values()].count("LTX2CacheDataset") == 3
    assert comfy.run(nodes) is not None
    assert (comfy.base / "models" / "loras" / "from_graph.safetensors").is_file()
