"""A clip that was dropped on the canvas brings its graph back, whatever it is coded with and however long it is."""

import json
from collections import Counter

import pytest
import torch
from comfy_host import PACK

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
    found = visit("drop.mjs", url=comfy.url, files=[str(f) for f in files])["found"]
    for file, nodes in zip(files, found, strict=True):
        assert Counter(kind for kind, _ in nodes) == Counter(n["type"] for n in workflow["nodes"]), file.name
        assert dict(map(tuple, nodes))["LTX2SampleT2V"]["steps"] == 7
