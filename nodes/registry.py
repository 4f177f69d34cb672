"""All nodes of the pack, in the order of the menu."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import adapters, bridge, captions, data, dataset_options, decode, importer, load, memory, modes, preflight, presets, reference, sample, save, text, train, train_previews, train_segment, upscale, validate
from .host.language import speaking
from .host.routes import register as register_routes
from .replacements import register_with_host

NODES: list[type[io.ComfyNode]] = [
    speaking(node) for module in (load, text, data, dataset_options, captions, preflight, importer, train, train_segment, train_previews, presets, memory, adapters, sample, modes, reference, upscale, decode, save, validate, bridge) for node in module.NODES
]


class Extension(ComfyExtension):
    async def on_load(self) -> None:
        await register_with_host()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        # Asked for once, before the server begins; on_load is not called by every host.
        register_routes()
        return NODES
