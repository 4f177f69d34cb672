"""Graphs that people saved stay good, and nodes stay small enough to read."""

import asyncio
import copy
import importlib.util
import json
from types import SimpleNamespace

import pytest
from comfy_host import PACK
from schema_rules import MOST_VISIBLE, all_breaks, breaks, frozen_schemas, live_schemas, visible

FROZEN = frozen_schemas()
SAMPLE = {
    "node_id": "LTX2Sample", "output_node": True,
    "inputs": [
        {"name": "model", "type": "LTX2_CHECKPOINT", "widget": False, "optional": False, "advanced": False},
        {"name": "steps", "type": "INT", "widget": True, "optional": False, "advanced": False, "default": 3},
        {"name": "kind", "type": "COMBO", "widget": True, "optional": False, "advanced": True, "default": "a", "options": ["a", "b"]},
    ],
    "outputs": [{"name": "latents", "type": "LTX2_LATENTS"}, {"name": "report", "type": "STRING"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def live(comfy_root):
    return live_schemas(comfy_root)


@pytest.mark.host
def test_released_nodes_open_graphs_saved_before(live):
    problems = all_breaks(FROZEN, live)
    assert not problems, "\n".join(problems)


@pytest.mark.host
def test_every_node_is_frozen_as_it_is(live):
    stale = [schema["node_id"] for schema in live if FROZEN.get(schema["node_id"]) != schema]
    assert not stale, f"run: python docs/help/make.py (changed: {', '.join(stale)})"


@pytest.mark.host
def test_at_most_ten_widgets_show(live):
    many = {schema["node_id"]: visible(schema) for schema in live if len(visible(schema)) > MOST_VISIBLE}
    assert not many, f"mark the rest advanced: {many}"


def _insert(schema):
    schema["inputs"].insert(1, {"name": "rank", "type": "INT", "widget": True, "optional": False, "advanced": False, "default": 1})


def _rename(schema):
    schema["inputs"][1]["name"] = "step_count"


def _remove(schema):
    del schema["inputs"][2]


def _lose_choice(schema):
    schema["inputs"][2]["options"] = ["a"]


def _control(schema):
    schema["inputs"][1]["control_after_generate"] = True


def _wire(schema):
    schema["inputs"][0]["name"] = "checkpoint"


def _require(schema):
    schema["inputs"].append({"name": "cache", "type": "LTX2_CACHE", "widget": False, "optional": False, "advanced": False})


def _outputs(schema):
    schema["outputs"].reverse()


def _retype(schema):
    schema["inputs"][1]["type"] = "FLOAT"


@pytest.mark.parametrize("change", [_insert, _rename, _remove, _lose_choice, _control, _wire, _require, _outputs, _retype])
def test_a_change_that_breaks_graphs_is_found(change):
    new = copy.deepcopy(SAMPLE)
    change(new)
    assert breaks(SAMPLE, new)


def test_what_is_added_behind_breaks_nothing():
    new = copy.deepcopy(SAMPLE)
    new["inputs"].insert(1, {"name": "cache", "type": "LTX2_CACHE", "widget": False, "optional": True, "advanced": False})
    new["inputs"].append({"name": "rank", "type": "INT", "widget": True, "optional": False, "advanced": False, "default": 1})
    new["inputs"][3]["options"].append("c")
    new["outputs"].append({"name": "audio", "type": "AUDIO"})
    assert breaks(SAMPLE, new) == []


def test_a_required_widget_behind_an_optional_one_moves_it():
    old = copy.deepcopy(SAMPLE)
    old["inputs"][2]["optional"] = True
    new = copy.deepcopy(old)
    new["inputs"].append({"name": "rank", "type": "INT", "widget": True, "optional": False, "advanced": False, "default": 1})
    assert breaks(old, new) == ["LTX2Sample: widget 2 was kind and is rank"]


def test_a_renamed_node_is_found():
    assert all_breaks({"LTX2Sample": SAMPLE}, [SAMPLE | {"node_id": "LTX2Sampler"}]) == ["LTX2Sample: the node is gone or renamed"]


RENAMED = {
    "old_node_id": "LTX2Sample", "new_node_id": "LTX2Sampler", "old_widget_ids": ["steps", "kind"],
    "input_mapping": [{"new_id": "model", "old_id": "model"}, {"new_id": "kind", "set_value": "a"}], "output_mapping": [{"new_idx": 0, "old_idx": 0}],
}  # fmt: skip


def test_a_renamed_node_with_a_true_replacement_is_good():
    assert all_breaks({"LTX2Sample": SAMPLE}, [SAMPLE | {"node_id": "LTX2Sampler"}], {"LTX2Sample": RENAMED}) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"new_node_id": "LTX2Nothing"}, {"old_widget_ids": ["kind", "steps"]}, {"input_mapping": [{"new_id": "size", "old_id": "steps"}]},
        {"input_mapping": [{"new_id": "steps", "old_id": "size"}]}, {"output_mapping": [{"new_idx": 2, "old_idx": 0}]},
    ],
)  # fmt: skip
def test_a_false_replacement_is_found(wrong):
    assert all_breaks({"LTX2Sample": SAMPLE}, [SAMPLE | {"node_id": "LTX2Sampler"}], {"LTX2Sample": RENAMED | wrong})


def test_hosts_are_told_of_every_replacement(tmp_path):
    """The host's side is two names: node_replacement.register and NodeReplace, which takes these keywords."""
    spec = importlib.util.spec_from_file_location("replacements", PACK / "nodes" / "replacements.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table, told = tmp_path / "table.json", []
    table.write_text(json.dumps([RENAMED]), encoding="utf-8")

    async def take(entry):
        told.append(entry)

    api = SimpleNamespace(node_replacement=SimpleNamespace(register=take))
    assert asyncio.run(module.register(api, dict, table)) == 1 and told == [RENAMED]
    assert asyncio.run(module.register(api, dict)) == len(json.loads(module.TABLE.read_text(encoding="utf-8")))
