"""Runs inside the host's Python: loads the pack as the host does, and prints which modules that brought in.

    python import_pack.py COMFYUI PACK
"""

import asyncio
import importlib.util
import json
import sys
import time

root, pack = sys.argv[1:]
sys.path.insert(0, root)
sys.argv[1:] = ["--cpu"]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import utils.install_util  # noqa: E402, F401  # first, as main.py does: later another folder named utils hides it
import server  # noqa: E402, F401
import nodes  # noqa: E402, F401

before = set(sys.modules)
start = time.perf_counter()
spec = importlib.util.spec_from_file_location("the_pack", f"{pack}/__init__.py", submodule_search_locations=[pack])
module = importlib.util.module_from_spec(spec)
sys.modules["the_pack"] = module
spec.loader.exec_module(module)
imported = set(sys.modules) - before
listed = asyncio.run(asyncio.run(module.comfy_entrypoint()).get_node_list())
print(json.dumps({
    "by_import": sorted(imported), "by_listing": sorted({m.split(".")[0] for m in set(sys.modules) - before}),
    "nodes": [node.define_schema().node_id for node in listed], "seconds": time.perf_counter() - start,
}))  # fmt: skip
