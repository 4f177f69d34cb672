"""Validate shows its grid in the node, in both renderers, after a reload too; what it made brings its graph back when it is dropped on the canvas."""

import json
from collections import Counter

import pytest
import torch
from comfy_host import PACK, SMALL

from ltx2core.checkpoint.adapter import Adapter, save_adapter

pytestmark = pytest.mark.host
WORKFLOW = PACK / "workflows" / "validation.json"


@pytest.fixture(scope="module")
def seen(comfy, visit, renderer):
    """The grid when it was made, in one renderer; in the other after a reload; the graphs that its files brought back."""
    pair = torch.ones(2, 128) * 0.1, torch.ones(128, 2) * 0.1
    for name in ("my_first_lora", "my_style"):
        save_adapter(comfy.base / "models" / "loras" / f"{name}.safetensors", Adapter(name, {"transformer_blocks.0.attn1.to_q": pair}, "2.0"))
    name, html = f"grid_{renderer}", renderer == "html"
    small = {"LTX2SampleSettings": {**SMALL, "steps": 1}, "LTX2PromptLibrary": {"only": "music"}, "LTX2Validate": {"seeds": "4", "strengths": "1", "name": name}}
    folder = comfy.base / "output" / "ltx2_validation" / name
    found = visit("grid.mjs", url=comfy.url, workflow=str(WORKFLOW), widgets=small, vue=html, folder=str(folder))
    assert found["html"] == [html, not html]
    return name, found


def test_the_grid_plays_in_the_node_and_survives_a_reload(seen):
    name, found = seen
    assert "appears here" in found["before"] and (found["toasts"], found["complaints"]) == ([], [])
    for shown, html in zip((found["made"], found["reloaded"]), found["html"], strict=True):
        assert shown["loop"] and shown["muted"] and shown["label"] == "Validation grid"
        assert shown["width"] > 3 * 128 and f"ltx2_validation/{name}/grid.mp4" in shown["text"]
        assert shown["stills"] == 0 and (html or shown["inside"])


def test_what_validate_made_restores_the_graph_that_made_it(seen):
    name, found = seen
    nodes = json.loads(WORKFLOW.read_text(encoding="utf-8"))["nodes"]
    assert len(found["dropped"]) == 2
    for dropped in found["dropped"]:
        assert Counter(kind for kind, _ in dropped) == Counter(n["type"] for n in nodes)
        shown = dict(map(tuple, dropped))["LTX2Validate"]
        assert (shown["name"], shown["seeds"], shown["strengths"], shown["scores"]) == (name, "4", "1", True)
