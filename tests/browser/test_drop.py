"""A clip that was dropped on the canvas brings its graph back, whatever it is coded with and however long it is."""

import json
from collections import Counter

import pytest
import torch
from comfy_host import PACK, SMALL, shipped

from ltx2core.checkpoint.adapter import Adapter, save_adapter
from ltx2core.media.write import write_video

pytestmark = pytest.mark.host


def test_dropped_clips_restore_their_graph(comfy, visit, tmp_path):
    workflow = json.loads((PACK / "workflows" / "text_to_video.json").read_text(encoding="utf-8"))
    node = next(n for n in workflow["nodes"] if n["type"] == "LTX2SampleT2V")
    node["widgets_values"] = [7 if v == 30 else v for v in node["widgets_values"]]  # steps, as a person changed them
    tags = {"workflow": json.dumps(workflow), "prompt": json.dumps({})}
    noise = torch.randint(0, 255, (80, 256, 256, 3), dtype=torch.uint8)
    files = [
        write_video(tmp_path / "short.mp4", noise[:3, :64, :64].contiguous(), 25.0, metadata=tags),
        write_video(tmp_path / "long.mp4", noise, 25.0, metadata=tags),  # over the 2 MiB of which the page looks for tags
        write_video(tmp_path / "edit.mov", noise[:3, :64, :64].contiguous(), 25.0, metadata=tags, codec="prores"),
    ]
    assert files[1].stat().st_size > 2 * 2**20
    found = visit("drop.mjs", url=comfy.url, files=[str(f) for f in files])
    for name in ("short.mp4", "long.mp4", "edit.mov"):
        assert Counter(kind for kind, _ in found[name]) == Counter(n["type"] for n in workflow["nodes"]), name
        assert dict(map(tuple, found[name]))["LTX2SampleT2V"]["steps"] == 7


def test_what_validate_made_restores_the_graph_that_made_it(comfy, visit):
    """A cell and the grid of a real run, queued with the canvas beside the prompt as the page does."""
    pair = torch.ones(2, 128) * 0.1, torch.ones(128, 2) * 0.1
    for name in ("my_first_lora", "my_style"):
        save_adapter(comfy.base / "models" / "loras" / f"{name}.safetensors", Adapter(name, {"transformer_blocks.0.attn1.to_q": pair}, "2.0"))
    canvas = json.loads((PACK / "workflows" / "validation.json").read_text(encoding="utf-8"))
    changes = {"LTX2SampleSettings": {**SMALL, "steps": 1}, "LTX2PromptLibrary": {"only": "music"}, "LTX2Validate": {"seeds": "4", "strengths": "1", "name": "dropped"}}
    (node,) = (n for n in canvas["nodes"] if n["type"] == "LTX2Validate")
    node["widgets_values"][:3] = ["dropped", "4", "1"]
    done = comfy.wait(comfy.post("/prompt", {"prompt": shipped("validation", **changes), "client_id": "page", "extra_data": {"extra_pnginfo": {"workflow": canvas}}})["prompt_id"])
    assert done["status"]["status_str"] == "success", done["status"]
    folder = comfy.base / "output" / "ltx2_validation" / "dropped"
    (cell,) = folder.glob("music__my_first_lora__seed4__*.mp4")
    found = visit("drop.mjs", url=comfy.url, files=[str(cell), str(folder / "grid.mp4")])
    for name in (cell.name, "grid.mp4"):
        assert Counter(kind for kind, _ in found[name]) == Counter(n["type"] for n in canvas["nodes"]), name
        shown = dict(map(tuple, found[name]))["LTX2Validate"]
        assert (shown["name"], shown["seeds"], shown["strengths"], shown["scores"]) == ("dropped", "4", "1", True)
