"""The pack loads in a real ComfyUI, every node is listed, and every input explains itself."""

import re

import pytest

pytestmark = pytest.mark.host

NODES = {
    "LTX2LoadCheckpoint", "LTX2LoadTextEncoder", "LTX2EncodePrompt", "LTX2VideoDataset", "LTX2CacheDataset", "LTX2LoRASettings",
    "LTX2TrainSettings", "LTX2TrainLoRA", "LTX2SampleT2V", "LTX2SampleI2V", "LTX2SampleS2V", "LTX2LoadAdapter", "LTX2ApplyAdapters",
    "LTX2Decode", "LTX2FromNativeLatent", "LTX2ToNativeLatent", "LTX2ToNativeConditioning",
}  # fmt: skip


@pytest.fixture(scope="session")
def info(comfy):
    return {k: v for k, v in comfy.object_info().items() if k.startswith("LTX2")}


def test_every_node_is_listed(info):
    assert NODES <= info.keys()


def test_no_error_line_of_ours(comfy):
    lines = [line for line in comfy.log.splitlines() if re.search(r"ltx2-studio|LTX-2 Studio|Traceback|IMPORT FAILED", line)]
    assert lines and not [line for line in lines if re.search(r"fail|error|Traceback|Cannot import", line, re.IGNORECASE)], "\n".join(lines)


def test_every_input_and_output_has_a_tooltip(info):
    silent = []
    for name, node in info.items():
        for part in ("required", "optional"):
            for field, declared in node["input"].get(part, {}).items():
                if not (len(declared) > 1 and declared[1].get("tooltip", "").strip()):
                    silent.append(f"{name}.{field}")
        silent += [f"{name}.{o}" for o, tip in zip(node["output_name"], node.get("output_tooltips") or [None] * len(node["output_name"]), strict=True) if not tip]
        assert node["description"] and node["category"].startswith("LTX-2/")
    assert not silent
