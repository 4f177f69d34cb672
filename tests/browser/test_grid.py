"""Validate shows its grid in the node, in both renderers, after a reload too."""

import shutil

import pytest
from comfy_host import PACK, QUICK, SMALL, shipped

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def loras(comfy):
    """The two that the shipped workflow names."""
    run = {"LTX2TrainLoRA": {"name": "my_first_lora"}, "LTX2TrainSettings": {**QUICK["LTX2TrainSettings"], "steps": 1, "warmup": 0}}
    comfy.run(shipped("first_lora", **{**QUICK, **run}))
    folder = comfy.base / "models" / "loras"
    shutil.copy(folder / "my_first_lora.safetensors", folder / "my_style.safetensors")


@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "html"])
def test_the_grid_plays_in_the_node_and_survives_a_reload(comfy, visit, loras, vue):
    name = f"grid_{'html' if vue else 'canvas'}"
    small = {"LTX2SampleSettings": {**SMALL, "steps": 1}, "LTX2PromptLibrary": {"only": "motion"}, "LTX2Validate": {"seeds": "1", "name": name}}
    seen = visit("grid.mjs", url=comfy.url, workflow=str(PACK / "workflows" / "validation.json"), widgets=small, vue=vue)
    assert "appears here" in seen["before"] and (seen["toasts"], seen["complaints"]) == ([], [])
    for shown in (seen["made"], seen["reloaded"]):
        assert shown["loop"] and shown["muted"] and shown["label"] == "Validation grid"
        assert shown["width"] > 3 * 128 and f"ltx2_validation/{name}/grid.mp4" in shown["text"]
        assert shown["stills"] == 0 and (vue or shown["inside"])
