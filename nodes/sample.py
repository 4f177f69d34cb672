"""Text, picture and sound to video."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.sample.given import SOUND_FITS, Given
from ..ltx2core.sample.modes import image_to_video, make, text_to_video
from ..ltx2core.sample.settings import SAMPLERS, SampleSettings
from ..ltx2core.sample.sigmas import SCHEDULES
from .base import ADVANCED, CATEGORY, CheckpointWire, ConditioningWire, LatentsWire, running
from .host.media import from_audio, from_images


def _inputs(*own: io.Input) -> list[io.Input]:
    """The inputs that all three nodes share, with a node's own ones after the wires."""
    return [
        CheckpointWire.Input("checkpoint", tooltip="The checkpoint, with adapters applied or without."),
        ConditioningWire.Input("positive", tooltip="The prompt: what to show and what to hear."),
        ConditioningWire.Input("negative", optional=True, tooltip="What to keep away from; an empty prompt is common. Not needed when both guidance scales are 1."),
        *own,
        io.Int.Input("width", default=768, min=32, max=4096, step=32, tooltip="Pixels, cut down to a multiple of 32. 768 x 512 is a safe start."),
        io.Int.Input("height", default=512, min=32, max=4096, step=32, tooltip="Pixels, cut down to a multiple of 32."),
        io.Int.Input("frames", default=121, min=1, max=1025, tooltip="Frames, cut down to 8k+1 and said: 61 becomes 57. Time grows a little faster than the frames do."),
        io.Float.Input("frame_rate", default=25.0, min=1.0, max=120.0, step=0.001, tooltip="Frames a second; 25 is what LTX-2 expects. Sound lasts frames / frame_rate seconds."),
        io.Int.Input("steps", default=30, min=1, max=200, tooltip="Denoising steps. 30 is a good start; more cost time in proportion. The distilled schedule always has 8."),
        io.Int.Input("seed", default=0, min=0, max=2**32 - 1, control_after_generate=True, tooltip="The noise. The same seed gives the same video on every device, up to rounding."),
        io.Float.Input("video_cfg", default=5.0, min=0.0, max=30.0, step=0.1, tooltip="How closely the picture follows the prompt. 5 by default; above 6 colours burn, below 2 video turns dark or noisy. 1 for the distilled adapter."),
        io.Float.Input("audio_cfg", default=5.0, min=0.0, max=30.0, step=0.1, tooltip="The same for the sound. The official pipelines use 3 for the picture and 7 for the sound."),
        io.Combo.Input("schedule", options=list(SCHEDULES), default="dynamic", tooltip="dynamic shifts the noise levels by the clip's size; official takes one size for all, as the official pipelines do; distilled is the list of the distilled adapter, with 8 steps and guidance 1."),
        io.Combo.Input("sampler", options=list(SAMPLERS), default="euler", extra_dict=ADVANCED, tooltip="euler is fast. heun is of second order: more exact, and twice the time a step."),
    ]  # fmt: skip


_OUTPUT = [LatentsWire.Output("latents", tooltip="For Decode, or To Native Latent.")]


def _settings(values: dict) -> SampleSettings:
    return SampleSettings.from_dict(values)


class LTX2SampleT2V(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2SampleT2V", display_name="LTX-2 Text to Video", category=f"{CATEGORY}/sample",
            description="Makes video and sound from a prompt.", inputs=_inputs(), outputs=_OUTPUT,
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, positive, negative=None, **values) -> io.NodeOutput:
        with running() as host:
            services = {"residency": host.residency, "reporter": host.reporter, "stop": host.stop}
            return io.NodeOutput(text_to_video(checkpoint, _settings(values), positive, negative, **services))


class LTX2SampleI2V(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2SampleI2V", display_name="LTX-2 Image to Video", category=f"{CATEGORY}/sample",
            description="Makes video and sound that begin with a picture.",
            inputs=_inputs(
                io.Image.Input("image", tooltip="The first frame, of any size: it is fitted and cropped to width x height."),
                io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="1 keeps the picture exactly; less lets the model change it."),
            ),
            outputs=_OUTPUT,
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, positive, image, strength: float, negative=None, **values) -> io.NodeOutput:
        with running() as host:
            services = {"residency": host.residency, "reporter": host.reporter, "stop": host.stop}
            frames = from_images(image)
            return io.NodeOutput(image_to_video(checkpoint, _settings(values), frames, positive, negative, strength=strength, **services))


class LTX2SampleS2V(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2SampleS2V", display_name="LTX-2 Sound to Video", category=f"{CATEGORY}/sample",
            description="Makes video for a sound. The sound stays as it is and is the result's own.",
            inputs=[
                *_inputs(io.Audio.Input("audio", tooltip="The sound; its first frames / frame_rate seconds are used.")),
                io.Combo.Input("sound_fit", options=list(SOUND_FITS), default="fit_sound", optional=True, extra_dict=ADVANCED, tooltip="For an audio that is not as long as the clip: fit_sound cuts it or adds silence, fit_video makes the clip as long as the sound, refuse stops with a message."),
            ],
            outputs=_OUTPUT,
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, positive, audio, negative=None, sound_fit: str = "fit_sound", **values) -> io.NodeOutput:
        with running() as host:
            services = {"residency": host.residency, "reporter": host.reporter, "stop": host.stop}
            given = Given(sound=from_audio(audio), sound_fit=sound_fit)
            return io.NodeOutput(make(checkpoint, _settings(values), positive, negative, given, **services))


NODES = [LTX2SampleT2V, LTX2SampleI2V, LTX2SampleS2V]
