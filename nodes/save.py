"""Files of finished clips."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.media.write import CODECS, suffix, write_video
from .base import CATEGORY, running
from .host.media import from_audio, from_images
from .host.saving import graph_tags, next_name, shown


class LTX2SaveVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2SaveVideo", display_name="Save LTX-2 Video", category=f"{CATEGORY}/sample", is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            description="Saves a video at its exact frame rate with AAC sound at its own rate, as H.264 or ProRes, with the graph inside: drop the file on the canvas to get it back.",
            inputs=[
                io.Video.Input("video", tooltip="From Decode, or any other video."),
                io.String.Input("filename_prefix", default="ltx2/video", tooltip="Folder and beginning of the name in the output folder; a number follows."),
                io.Combo.Input("codec", options=list(CODECS), default=CODECS[0], tooltip="h264 (mp4) is small and opens everywhere; prores (422 HQ, mov) is for editing programs and about 20 times larger."),
            ],
            outputs=[io.String.Output("path", tooltip="Where the file lies.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, video, filename_prefix: str, codec: str) -> io.NodeOutput:
        with running():
            parts = video.get_components()
            frames = from_images(parts.images)
            frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
            path = next_name(filename_prefix, suffix(codec), frames.shape[2], frames.shape[1])
            sound = from_audio(parts.audio) if parts.audio else None
            write_video(path, frames, float(parts.frame_rate), sound, graph_tags(cls.hidden), codec)
            return io.NodeOutput(str(path), ui=shown(path))


NODES = [LTX2SaveVideo]
