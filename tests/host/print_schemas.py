"""Runs inside the host's Python: prints what every node of the pack declares, as JSON, without starting the server.

    python print_schemas.py COMFYUI PACK EMPTY_FOLDER

The empty folder takes the place of the models, so that lists of files are empty wherever this runs.
"""

import asyncio
import importlib.util
import json
import sys

root, pack, empty = sys.argv[1:]
sys.path.insert(0, root)
sys.argv[1:] = ["--cpu", "--base-directory", empty]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import utils.install_util  # noqa: E402, F401  # first, as main.py does: later another folder named utils hides it
import server  # noqa: E402, F401
import nodes  # noqa: E402, F401
from comfy_api.latest import io  # noqa: E402

LIMITS = ("default", "min", "max", "step", "options", "multiline")


def declared_input(given: io.Input) -> dict:
    said = given.as_dict()
    # A multi-type input or a forced one is a socket, whatever its class.
    widget = isinstance(given, io.WidgetInput) and not given.force_input
    line = {"name": given.id, "type": given.get_io_type(), "widget": widget, "optional": bool(given.optional)}
    line |= {key: said[key] for key in LIMITS if key in said}
    # The front-end stores this choice as a widget of its own behind the seed.
    if said.get("control_after_generate"):
        line["control_after_generate"] = True
    return line | {"advanced": bool(said.get("advanced")), "tooltip": given.tooltip or ""}


def declared(node: type[io.ComfyNode]) -> dict:
    schema = node.define_schema()
    outputs = [{"name": o.id or o.display_name, "type": o.get_io_type(), "tooltip": o.tooltip or ""} for o in schema.outputs]
    return {
        "node_id": schema.node_id, "display_name": schema.display_name, "category": schema.category, "description": schema.description,
        "output_node": schema.is_output_node, "inputs": [declared_input(i) for i in schema.inputs], "outputs": outputs,
    }  # fmt: skip


spec = importlib.util.spec_from_file_location("the_pack", f"{pack}/__init__.py", submodule_search_locations=[pack])
module = importlib.util.module_from_spec(spec)
sys.modules["the_pack"] = module
spec.loader.exec_module(module)
listed = asyncio.run(asyncio.run(module.comfy_entrypoint()).get_node_list())
print(json.dumps([declared(node) for node in listed], ensure_ascii=True))
