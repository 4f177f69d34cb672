"""The canvas workflow of an imported run: every value of the run is in a widget, or said to be in none."""

import importlib.util
import json
from pathlib import Path

import pytest

from ltx2core.runspec import RunFile
from ltx2core.simpletuner.canvas import canvas_files, imported_graph, node_schemas
from ltx2core.simpletuner.importer import import_config
from ltx2core.strict import from_dict
from workflows.graph import Graph

HERE = Path("/data")


def _writer():
    spec = importlib.util.spec_from_file_location("write_canvas_nodes", Path(__file__).with_name("write_canvas_nodes.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def graph_of(config, backends):
    run = from_dict(RunFile, import_config({"max_train_steps": 5, **config}, backends, HERE).run, "run")
    graph, left = imported_graph(run, Graph("imported"), node_schemas())
    return {n.kind: n for n in graph.nodes}, left, graph


def test_the_widgets_are_those_of_the_nodes():
    """Widgets are only appended: what is frozen here must be the beginning of what the nodes have now."""
    now = _writer().current()
    for name, schema in node_schemas().items():
        for part, order in schema["input_order"].items():
            assert now[name]["input_order"][part][: len(order)] == order, name
        assert now[name]["output"][: len(schema["output"])] == schema["output"], name


def test_the_lowest_memory_configuration_on_the_canvas(lowest, backends):
    nodes, left, _ = graph_of(lowest, backends)
    assert nodes["LTX2TrainSettings"].inputs.items() >= {"steps": 200, "learning_rate": 6e-5, "warmup": 50, "batch_size": 2, "optimizer": "adamw_bf16", "max_grad_norm": 0.1, "seed": 42}.items()
    assert nodes["LTX2LoRASettings"].inputs.items() >= {"rank": 16, "alpha": 16.0, "dropout": 0.1, "kind": "lora", "targets": "auto"}.items()
    assert nodes["LTX2MemorySettings"].inputs.items() >= {"mode": "manual", "precision": "int8", "streamed_blocks": 48}.items()
    assert nodes["LTX2VideoDataset"].inputs.items() >= {"folder": "/data/datasets/videos", "width": 480, "height": 480, "frames": 61, "repeats": 10, "frame_rate": 25.0}.items()
    assert nodes["LTX2ObjectiveSettings"].inputs.items() >= {"timesteps": "logit_normal", "shift": 3.0, "std": 1.0}.items()
    assert nodes["LTX2SampleT2V"].inputs.items() >= {"steps": 40, "video_cfg": 5.0, "frames": 81, "width": 768, "height": 512, "seed": 42}.items()
    assert nodes["LTX2CacheDataset"].inputs.items() >= {
        "vae": "manual", "vae_batch_size": 1, "vae_slicing": True, "vae_patch_conv": True, "vae_temporal_roll": True, "vae_tile": 512, "vae_tile_overlap": 64,
    }.items()  # fmt: skip
    assert nodes["LTX2DatasetOptions"].inputs.items() >= {"caption_lines": "each", "seed": 42}.items()
    assert nodes["LTX2VideoDataset"].inputs["options"].node == nodes["LTX2DatasetOptions"].id
    # Two buffers of streamed blocks, the saving choice, are the memory node's only value without a widget.
    assert {line.split(" = ")[0].split(".")[-1] for line in left} <= {"slots"}


def test_methods_stand_in_a_row():
    config = {
        "tread_config": {"routes": [{"selection_ratio": 0.5, "start_layer_idx": 2, "end_layer_idx": -2}]}, "crepa_enabled": True, "use_ema": True,
        "scheduled_sampling_max_step_offset": 4, "scheduled_sampling_probability": 0.2, "ltx2_prefix_conditioning_probability": 0.3, "report_to": "tensorboard",
    }  # fmt: skip
    data = [{"id": "d", "type": "local", "dataset_type": "video", "instance_data_dir": "clips", "video": {"num_frames": 49, "min_frames": 9}}]
    nodes, _, graph = graph_of(config, data)
    row = ["LTX2TrainSettings", "LTX2ObjectiveSettings", "LTX2ConditioningSettings", "LTX2ScheduleSettings", "LTX2Tread", "LTX2Crepa", "LTX2ScheduledSampling", "LTX2Tracking"]
    for before, after in zip(row, [*row[1:], "LTX2TrainLoRA"], strict=True):
        assert nodes[after].inputs["settings"].node == nodes[before].id
    assert nodes["LTX2Tread"].inputs["end_layer"] == -2 and nodes["LTX2Crepa"].inputs["block"] == 8 and nodes["LTX2ScheduleSettings"].inputs["ema_decay"] == 0.995
    assert nodes["LTX2ConditioningSettings"].inputs["prefix_probability"] == 0.3 and nodes["LTX2Tracking"].inputs["tensorboard"] is True


def test_other_datasets_are_wired_by_their_role():
    base = {"type": "local", "dataset_type": "video", "instance_data_dir": "clips", "video": {"num_frames": 9, "min_frames": 9}}
    data = [{**base, "id": "d"}, {**base, "id": "r", "dataset_type": "conditioning"}, {**base, "id": "p", "is_regularisation_data": True}, {**base, "id": "e", "dataset_type": "eval"}]
    nodes, _, graph = graph_of({}, data)
    train = nodes["LTX2TrainLoRA"].inputs
    assert len({train[name].node for name in ("cache", "validation", "references", "regularisation")}) == 4


def test_several_datasets_are_mixed():
    """Six of them, of sound alone: two nodes of four, and every share stays what it was."""
    base = {"type": "local", "dataset_type": "audio", "instance_data_dir": "clips"}
    data = [{**base, "id": f"d{i}", "instance_data_dir": f"clips{i}", "probability": i + 1.0} for i in range(6)]
    data[5] = {**data[5], "audio": {"duration_interval": 2.0, "max_duration_seconds": 9.0}, "caption_shuffle": {"enable": True, "count": 3}}
    _, left, graph = graph_of({}, data)
    mixes = [n for n in graph.nodes if n.kind == "LTX2MixDatasets"]
    inner, outer = sorted(mixes, key=lambda n: n.inputs["share_1"], reverse=True)
    assert [inner.inputs.get(f"share_{n}") for n in range(1, 5)] == [4, 5, 6, None]
    assert [outer.inputs[f"share_{n}"] for n in range(1, 5)] == [1, 2, 3, 15] and outer.inputs["cache_4"].node == inner.id
    assert next(n for n in graph.nodes if n.kind == "LTX2TrainLoRA").inputs["cache"].node == outer.id
    # Offsets and messages name a dataset by its id.
    assert [n.inputs["id"] for n in graph.nodes if n.kind == "LTX2DatasetOptions"] == [f"d{i}" for i in range(6)]
    sound = next(n for n in graph.nodes if n.kind == "LTX2DatasetOptions" and "shuffles" in n.inputs)
    assert sum(n.inputs.get("dataset_type") == "audio" and n.inputs["options"].node == sound.id for n in graph.nodes) == 1
    assert sound.inputs.items() >= {"duration_interval": 2.0, "max_seconds": 9.0, "shuffles": 3, "shuffle_split_on": ","}.items()
    assert not [line for line in left if line.startswith("dataset")]


def test_files(lowest, backends, tmp_path):
    run = from_dict(RunFile, import_config(lowest, backends, HERE).run, "run")
    files, left = canvas_files(run, Graph, tmp_path / "mine.json")
    canvas, api = files[tmp_path / "mine.json"], files[tmp_path / "mine.api.json"]
    assert json.loads(json.dumps(canvas))["version"] == 0.4 and {n["class_type"] for n in api.values()} <= {n["type"] for n in canvas["nodes"]}
    train = next(n for n in canvas["nodes"] if n["type"] == "LTX2TrainSettings")
    order = [i["name"] for i in train["inputs"] if "widget" in i]
    assert dict(zip(order, train["widgets_values"], strict=True)).items() >= {"steps": 200, "seed": 42, "learning_rate": 6e-5}.items()
    note = next(n for n in canvas["nodes"] if n["type"] == "MarkdownNote")["widgets_values"][0]
    assert all(line in note for line in left)


@pytest.mark.parametrize("name", sorted(node_schemas()))
def test_every_frozen_node_is_still_a_node(name):
    assert name in _writer().current()
