"""Loads what a person has: the combined checkpoint and Gemma3."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.checkpoint.combined import open_checkpoint
from ..ltx2core.hub import find_file
from ..ltx2core.models.handle import Models, weight_dtype
from ..ltx2core.text.source import open_text_encoder
from .base import CATEGORY, CheckpointWire, TextEncoderWire, running
from .folders import file_state
from .host import names


class LTX2LoadCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2LoadCheckpoint",
            display_name="Load LTX-2 Checkpoint",
            category=f"{CATEGORY}/load",
            description="Opens the combined LTX-2 19B file: video and sound transformer, VAEs, vocoder and text connectors. Reads only the header; weights are read when a node needs them.",
            inputs=[
                io.Combo.Input("checkpoint", options=names.checkpoints(), tooltip="The combined LTX-2 file in models/checkpoints, for example ltx-2-19b-dev.safetensors. Costs nothing until a node uses it."),
                io.Combo.Input("weight_dtype", options=["auto", "bf16", "float32"], default="auto", tooltip="Type of the weights in memory. auto is bf16 on a graphics card and float32 on a processor. float32 doubles memory; change it only to compare numbers."),
                io.String.Input("hub_file", default="", tooltip="Leave empty, or give repo_id:file to use a file of the Hugging Face cache on this machine instead of the list above. Nothing is downloaded."),
            ],
            outputs=[CheckpointWire.Output("checkpoint", tooltip="The model, for caching, training and sampling.")],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str = "", hub_file: str = "", **_) -> str:
        from .host.context import host

        return file_state(lambda: find_file(hub_file) if hub_file.strip() else host().paths.checkpoint(checkpoint))

    @classmethod
    def execute(cls, checkpoint: str, weight_dtype: str, hub_file: str = "") -> io.NodeOutput:
        with running() as host:
            path = find_file(hub_file) if hub_file.strip() else host.paths.checkpoint(checkpoint)
            return io.NodeOutput(Models(open_checkpoint(path), _dtype(weight_dtype, host)))


def _dtype(name: str, host):
    return weight_dtype(name, host.residency.device)


class LTX2LoadTextEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2LoadTextEncoder",
            display_name="Load LTX-2 Text Encoder",
            category=f"{CATEGORY}/load",
            description="Opens Gemma3, which reads captions and prompts. Its weights are read only when a caption or prompt is not in the cache yet.",
            inputs=[
                io.Combo.Input("text_encoder", options=names.text_encoders(), tooltip="Gemma3 12B in models/text_encoders: a single file for ComfyUI (bf16, fp8 or fp4) or a Hugging Face folder. fp8 and fp4 files need half and a quarter of the disk; captions change very little."),
            ],
            outputs=[TextEncoderWire.Output("text_encoder", tooltip="Gemma3, for caching captions and encoding prompts.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, text_encoder: str) -> io.NodeOutput:
        with running() as host:
            return io.NodeOutput(open_text_encoder(host.paths.text_encoder(text_encoder)))


NODES = [LTX2LoadCheckpoint, LTX2LoadTextEncoder]
