"""Where the base model lies while it is trained on."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.memory.engine import MemorySettings
from ..ltx2core.memory.quantize import FORMATS
from .base import CATEGORY, MemoryWire

_AUTO = "auto"
_WAITING = {"nothing": "", "inputs": "inputs", "results": "results"}


class LTX2MemorySettings(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2MemorySettings",
            display_name="LTX-2 Memory Settings",
            category=f"{CATEGORY}/train",
            description="How the base model lies in memory during training. auto takes the fastest way that fits the card; the other inputs count only without auto.",
            inputs=[
                io.Combo.Input("mode", options=[_AUTO, "manual"], default=_AUTO, tooltip="auto looks at what is free and chooses; manual takes the values below. The choice and its bytes are said when training begins."),
                io.Combo.Input("precision", options=["bf16", *FORMATS], default="bf16", tooltip="Of the frozen base. bf16 needs about 38 GiB resident; int8 half of it at almost the same speed, with a rounding of at most half a step of 1/127."),
                io.Int.Input("streamed_blocks", default=0, min=0, max=64, tooltip="How many of the 48 blocks wait in pinned host memory and are copied ahead of use. 48 needs the least memory on the card; a step then takes as long as the copies do."),
                io.Int.Input("kept_blocks", default=0, min=0, max=64, tooltip="How many blocks keep their activations instead of computing them again: faster, about 0.5 to 1 GiB each."),
                io.Boolean.Input("compile", default=True, tooltip="For DoRA, LoKr and LoHa: compile the blocks once for each size, 1 to 2 minutes at the first step, then about a third faster. Needs Triton. LoRA runs on blocks of our own and never compiles."),
                io.Boolean.Input("capture", default=True, tooltip="Record the step as one CUDA graph, which removes the gaps between kernels. Switch it off if a driver complains."),
                io.Combo.Input("in_host_memory", options=list(_WAITING), default="nothing", optional=True, tooltip="LoRA only. What waits in pinned host memory from forward to backward: nothing, the blocks' inputs (less on the card), or results too (less, and up to a tenth faster over a fast bus; about 5 to 20 GiB of host memory)."),
            ],
            outputs=[MemoryWire.Output("memory", tooltip="For Train LoRA.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, mode: str, precision: str, streamed_blocks: int, kept_blocks: int, compile: bool, capture: bool, in_host_memory: str = "nothing") -> io.NodeOutput:
        if mode == _AUTO:
            return io.NodeOutput(None)
        return io.NodeOutput(MemorySettings(precision, streamed_blocks, kept=kept_blocks, compiled=compile, captured=capture, hosted=_WAITING[in_host_memory]))


NODES = [LTX2MemorySettings]
