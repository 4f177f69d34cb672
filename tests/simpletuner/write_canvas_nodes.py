"""Writes ``ltx2core/simpletuner/canvas_nodes.json``, the widgets of the nodes that an imported workflow uses, from their
frozen schemas: python tests/simpletuner/write_canvas_nodes.py

Widgets are only ever appended to a node, so that an older file still makes workflows that open.
"""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "ltx2core" / "simpletuner" / "canvas_nodes.json"
NODES = (
    "LTX2LoadCheckpoint", "LTX2LoadTextEncoder", "LTX2VideoDataset", "LTX2DatasetOptions", "LTX2CacheDataset", "LTX2MixDatasets", "LTX2LoRASettings", "LTX2TrainSettings", "LTX2ObjectiveSettings",
    "LTX2ConditioningSettings", "LTX2ScheduleSettings", "LTX2Tread", "LTX2Crepa", "LTX2ScheduledSampling", "LTX2Tracking", "LTX2MemorySettings", "LTX2TrainLoRA",
    "LTX2TrainingPreview", "LTX2EncodePrompt", "LTX2ApplyAdapters", "LTX2SampleT2V", "LTX2Decode", "LTX2SaveVideo",
)  # fmt: skip
_OPTIONS = ("default", "options", "multiline")


def _node(name: str) -> dict:
    schema = json.loads((ROOT / "tests" / "host" / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    info: dict = {"input": {"required": {}, "optional": {}}, "input_order": {"required": [], "optional": []}}
    for given in schema["inputs"]:
        part = "optional" if given["optional"] else "required"
        kind = given["type"]
        said = {k: given[k] for k in _OPTIONS if given.get(k) is not None} | ({} if given["widget"] else {"forceInput": True})
        if kind == "INT":
            said["control_after_generate"] = bool(given.get("control_after_generate"))
        info["input"][part][given["name"]] = [kind, said]
        info["input_order"][part].append(given["name"])
    return info | {"output": [o["type"] for o in schema["outputs"]], "output_name": [o["name"] for o in schema["outputs"]]}


def current() -> dict[str, dict]:
    return {name: _node(name) for name in NODES}


if __name__ == "__main__":
    TARGET.write_text(json.dumps(current(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
