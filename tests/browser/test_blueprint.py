"""The subgraph blueprint in the real front-end: found by its name, wired, run."""

import json

import pytest
from comfy_host import PACK, SMALL

from ltx2core.checkpoint.adapter import load_adapter

pytestmark = pytest.mark.host
(FILE,) = (PACK / "subgraphs").glob("*.json")


def test_a_blueprint_is_found_placed_and_trains(comfy, visit, renderer):
    run = f"blueprint_{renderer}"
    seen = visit("blueprint.mjs", url=comfy.url, blueprint=FILE.stem, run=run, small=SMALL, vue=renderer == "html")
    assert (seen["red"], seen["complaints"]) == ([], [])
    assert seen["shown"]["outputs"] == ["adapter", "lora_name", "loss"] and {"checkpoint", "text_encoder", "cache", "memory"} <= set(seen["shown"]["inputs"])
    assert {"prompt", "preset", "steps", "every", "name"} <= set(seen["shown"]["widgets"])
    assert {"LTX2TrainLoRA", "LTX2TrainingPreview", "LTX2TrainPreset"} <= set(seen["kinds"]) and len(seen["inside"]) == 5
    assert load_adapter(comfy.base / "models" / "loras" / f"{run}.safetensors").layers


def test_the_blueprint_is_served_and_holds_nothing_foreign(comfy):
    (found,) = [e for e in comfy.get("/global_subgraphs").values() if e["info"]["node_pack"].endswith("ltx2-studio")]
    assert found["name"] == FILE.stem
    content = json.loads(FILE.read_text(encoding="utf-8"))
    (node,), (inside,) = content["nodes"], content["definitions"]["subgraphs"]
    assert node["type"] == inside["id"] and all(n["type"].startswith("LTX2") for n in inside["nodes"])
