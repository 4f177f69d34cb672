"""Latents to what other nodes take: IMAGE, AUDIO and VIDEO."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.sample.decode import decode
from .base import CATEGORY, CheckpointWire, LatentsWire, running
from .host.media import to_audio, to_images, to_video

_TILED = {"auto": None, "on": True, "off": False}


class LTX2Decode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2Decode",
            display_name="LTX-2 Decode",
            category=f"{CATEGORY}/sample",
            description="Turns latents into pictures and sound. A video made for a given sound keeps that sound.",
            inputs=[
                CheckpointWire.Input("checkpoint", tooltip="The checkpoint whose VAEs and vocoder decode."),
                LatentsWire.Input("latents", tooltip="From one of the sampling nodes."),
                io.Combo.Input("tiled", options=list(_TILED), default="auto", tooltip="auto goes by the memory that is free: on a card the clip streams through the decoder, which shows no seams and costs no more for a longer clip; only where that does not fit is the picture cut into overlapping tiles, and that is said. on always cuts tiles of 512 pixels; off decodes all at once."),
            ],
            outputs=[
                io.Image.Output("images", tooltip="All frames; of several clips, one after another."),
                io.Audio.Output("audio", tooltip="The sound of the first clip."),
                io.Video.Output("video", tooltip="The first clip with its sound, for Save Video."),
                io.Video.Output("videos", is_output_list=True, tooltip="Every clip with its sound, one after another: Save Video then saves them all."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, latents, tiled: str = "auto") -> io.NodeOutput:
        with running() as host:
            clips = decode(latents, checkpoint, residency=host.residency, reporter=host.reporter, tiled=_TILED[tiled])
            return io.NodeOutput(to_images(clips), to_audio(clips[0]), to_video(clips[0]), [to_video(clip) for clip in clips])


NODES = [LTX2Decode]
