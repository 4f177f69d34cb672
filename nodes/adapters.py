"""Adapters: load one, apply several."""

from __future__ import annotations

from dataclasses import dataclass

from comfy_api.latest import io

from ..ltx2core.checkpoint.adapter import Adapter, load_adapter
from ..ltx2core.hub import find_file
from .base import CATEGORY, AdapterWire, CheckpointWire, running
from .host import names

_SLOTS = 4
_NONE = "(none)"


@dataclass(frozen=True)
class WeightedAdapter:
    """What the wire LTX2_ADAPTER carries."""

    adapter: Adapter
    strength: float = 1.0


class LTX2LoadAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2LoadAdapter",
            display_name="Load LTX-2 Adapter",
            category=f"{CATEGORY}/adapters",
            description="Opens a LoRA for LTX-2, from models/loras or from the Hugging Face cache of this machine.",
            inputs=[
                io.Combo.Input("adapter", options=[_NONE, *names.loras()], default=_NONE, tooltip="A LoRA in models/loras, in ComfyUI's, diffusers' or kohya's naming. Choose (none) to use hub_file."),
                io.Float.Input("strength", default=1.0, min=-10.0, max=10.0, step=0.05, tooltip="How strongly the adapter acts. 1 is as trained; multiplied with the strength at Apply Adapters."),
                io.String.Input("hub_file", default="", tooltip="repo_id:file of a LoRA on the Hugging Face hub. Looked up in the cache on this machine first."),
                io.Boolean.Input("allow_download", default=False, tooltip="Off: nothing is ever downloaded. On: a hub_file that is not in the cache is downloaded, and its size is said first."),
            ],
            outputs=[AdapterWire.Output("adapter", tooltip="For Apply Adapters, or to go on training.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, adapter: str, strength: float, hub_file: str = "", allow_download: bool = False) -> io.NodeOutput:
        with running() as host:
            if hub_file.strip():
                path = find_file(hub_file, allow_download=allow_download, reporter=host.reporter)
            else:
                path = host.paths.lora(adapter)
            return io.NodeOutput(WeightedAdapter(load_adapter(path), strength))


class LTX2ApplyAdapters(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        slots = []
        for i in range(1, _SLOTS + 1):
            slots.append(AdapterWire.Input(f"adapter_{i}", optional=True, tooltip="An adapter, from Load Adapter or Train LoRA. Leave empty when not needed."))
            slots.append(io.Float.Input(f"strength_{i}", default=1.0, min=-10.0, max=10.0, step=0.05, optional=True, tooltip=f"Strength of adapter {i}. 0 switches it off; negative values turn it round. Costs nothing."))
        return io.Schema(
            node_id="LTX2ApplyAdapters",
            display_name="Apply LTX-2 Adapters",
            category=f"{CATEGORY}/adapters",
            description="The checkpoint with up to four adapters beside its weights. The weights themselves are not touched; chain two of these for more.",
            inputs=[CheckpointWire.Input("checkpoint", tooltip="The checkpoint to apply the adapters to."), *slots],
            outputs=[CheckpointWire.Output("checkpoint", tooltip="The checkpoint with the adapters, for the sampling nodes.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, **slots) -> io.NodeOutput:
        pairs = []
        for i in range(1, _SLOTS + 1):
            weighted, strength = slots.get(f"adapter_{i}"), slots.get(f"strength_{i}", 1.0)
            if weighted is not None and strength * weighted.strength != 0:
                pairs.append((weighted.adapter, strength * weighted.strength))
        return io.NodeOutput(checkpoint.with_adapters(*pairs))


NODES = [LTX2LoadAdapter, LTX2ApplyAdapters]
