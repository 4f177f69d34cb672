"""Sampling beside a reference video (IC-LoRA)."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.sample.given import SOUND_FITS
from ..ltx2core.sample.reference import Reference, reference_to_video
from .base import ADVANCED, CATEGORY, CheckpointWire, ConditioningWire, KeyframesWire, LatentsWire, SampleSettingsWire, running
from .host.media import from_images
from .modes import given_of


class LTX2SampleReference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2SampleReference",
            display_name="LTX-2 Sample Reference",
            category=f"{CATEGORY}/sample",
            description="Makes video that follows a reference video, such as edges, depth, poses or a clip without detail, with an IC-LoRA applied.",
            inputs=[
                CheckpointWire.Input("checkpoint", tooltip="The checkpoint with an IC-LoRA applied. The reference's scale is read from that file."),
                SampleSettingsWire.Input("settings", tooltip="Size, length, seeds and guidance. Sides are cut to what both the clip and its smaller reference can have."),
                ConditioningWire.Input("positive", tooltip="The prompt: the finished picture, not the reference."),
                ConditioningWire.Input("negative", optional=True, tooltip="What to keep away from; needed unless both guidance scales are 1."),
                io.Image.Input("reference", tooltip="All frames of the reference video, at the clip's frame rate and at least as many as the clip has. Fitted and cropped to the clip's shape."),
                io.Image.Input("image", optional=True, tooltip="The first frame of the clip."),
                KeyframesWire.Input("keyframes", optional=True, tooltip="Pictures at chosen frames, from Keyframe."),
                io.Audio.Input("audio", optional=True, tooltip="A sound for which the video is made. It stays as it is and is the result's own."),
                io.Float.Input("reference_strength", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="1 shows the reference to the model as it is; less lets the model change it."),
                io.Combo.Input("sound_fit", options=list(SOUND_FITS), default="fit_sound", optional=True, extra_dict=ADVANCED, tooltip="For an audio that is not as long as the clip: fit_sound cuts it or adds silence, fit_video makes the clip as long as the sound, refuse stops with a message."),
            ],
            outputs=[LatentsWire.Output("latents", tooltip="For Decode, Upscale Latents, or To Native Latent.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, settings, positive, reference, reference_strength: float = 1.0, negative=None, sound_fit: str = SOUND_FITS[0], **wires) -> io.NodeOutput:
        with running() as host:
            services = {"residency": host.residency, "reporter": host.reporter, "stop": host.stop}
            video = Reference(from_images(reference), reference_strength)
            return io.NodeOutput(reference_to_video(checkpoint, settings, video, positive, negative, given_of(sound_fit=sound_fit, **wires), **services))


NODES = [LTX2SampleReference]
