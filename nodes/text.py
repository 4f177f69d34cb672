"""Prompts."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.cache.store import Store
from ..ltx2core.cache.text import cache_prompts, read_features
from .base import CATEGORY, CheckpointWire, ConditioningWire, TextEncoderWire, running


class LTX2EncodePrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2EncodePrompt",
            display_name="LTX-2 Encode Prompt",
            category=f"{CATEGORY}/text",
            description="Turns a prompt into text features for picture and sound. Kept on disk, so the same prompt never loads the text encoder twice.",
            inputs=[
                CheckpointWire.Input("checkpoint", tooltip="The checkpoint whose text connectors finish the features."),
                TextEncoderWire.Input("text_encoder", tooltip="Gemma3."),
                io.String.Input("prompt", multiline=True, dynamic_prompts=True, tooltip="What to show and what to hear, in plain sentences. Empty is the unconditional prompt. The first encode of a prompt loads Gemma3; later ones read the disk."),
            ],
            outputs=[ConditioningWire.Output("conditioning", tooltip="Text features for the sampling nodes.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, text_encoder, prompt: str) -> io.NodeOutput:
        with running() as host:
            store = Store(host.paths.cache_dir())
            keys = cache_prompts([prompt], checkpoint.checkpoint, text_encoder, store, residency=host.residency, reporter=host.reporter, stop=host.stop)
            return io.NodeOutput(read_features(store, keys[prompt]))


NODES = [LTX2EncodePrompt]
