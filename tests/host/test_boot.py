"""The pack loads in a real ComfyUI, every node is listed, and every input explains itself."""

import importlib.util
import inspect
import json
import re
import subprocess

import pytest
from comfy_host import PACK, host_environment, host_python
from schema_rules import frozen_schemas

pytestmark = pytest.mark.host

NODES = set(frozen_schemas())


HEAVY = {"diffusers", "transformers", "peft", "torchao", "lycoris", "av"}


@pytest.fixture(scope="session")
def info(comfy):
    return {k: v for k, v in comfy.object_info().items() if k.startswith("LTX2")}


def test_every_node_is_listed(info):
    assert NODES <= info.keys()


def test_no_error_line_of_ours(comfy):
    starting = comfy.log.partition("To see the GUI")[0]  # what is said later belongs to the tests that ran before
    lines = [line for line in starting.splitlines() if re.search(r"ltx2-studio|LTX-2 Studio|Traceback|IMPORT FAILED", line)]
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


def test_loading_and_listing_bring_in_no_heavy_library(comfy_root):
    """In the host's Python; what the host has loaded by itself does not count."""
    command = [host_python(comfy_root), str(PACK / "tests" / "host" / "import_pack.py"), str(comfy_root), str(PACK)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=host_environment(), timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["by_import"] == ["the_pack"]
    assert not HEAVY & set(seen["by_listing"])
    assert set(seen["nodes"]) == NODES


def test_pack_is_importable_without_comfyui():
    spec = importlib.util.spec_from_file_location("pack_alone", PACK / "__init__.py", submodule_search_locations=[str(PACK)])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (PACK / module.WEB_DIRECTORY).is_dir() and inspect.iscoroutinefunction(module.comfy_entrypoint)
    # Two ways of listing nodes would make the host ignore this one.
    assert not hasattr(module, "NODE_CLASS_MAPPINGS")
