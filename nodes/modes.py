"""Sampling with everything that can be given; what is made follows from what is wired."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.geometry import snap_frames
from ..ltx2core.models.forward import CROSS_TIMESTEP_RULES
from ..ltx2core.sample.given import SOUND_FITS, Beginning, Given, Picture
from ..ltx2core.sample.join import join_frames, join_sound
from ..ltx2core.sample.modes import make
from ..ltx2core.sample.settings import PRESETS, SAMPLERS, SampleSettings, parse_seeds, preset
from ..ltx2core.sample.sigmas import SCHEDULES
from ..ltx2core.sample.sound import decode_sound, text_to_sound
from .base import ADVANCED, CATEGORY, CheckpointWire, ConditioningWire, KeyframesWire, LatentsWire, SampleSettingsWire, running
from .host.media import from_audio, from_images, to_host_audio

_CUSTOM = "custom"


class LTX2SampleSettings(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2SampleSettings", display_name="LTX-2 Sample Settings", category=f"{CATEGORY}/sample",
            description="Size, length, seeds and guidance, for Sample and Validate.",
            inputs=[
                io.Combo.Input("preset", options=[_CUSTOM, *PRESETS], default=_CUSTOM, tooltip="custom takes the values below. The others set guidance, schedule and steps: studio 5 and 5; official 3 for the picture and 7 for the sound; official_full adds spatio-temporal and modality guidance (3 times slower); distilled is guidance 1 in 8 steps, for the distilled adapter."),
                io.Int.Input("width", default=768, min=32, max=4096, step=32, tooltip="Pixels, cut down to a multiple of 32."),
                io.Int.Input("height", default=512, min=32, max=4096, step=32, tooltip="Pixels, cut down to a multiple of 32."),
                io.Int.Input("frames", default=121, min=1, max=1025, tooltip="Frames, cut down to 8k+1 and said: 61 becomes 57."),
                io.Float.Input("frame_rate", default=25.0, min=1.0, max=120.0, step=0.001, tooltip="Frames a second. Sound lasts frames / frame_rate seconds."),
                io.String.Input("seeds", default="0", tooltip="One seed, or several: 1, 2, 5-8. Sample makes one clip a seed, all at once, and needs memory for all of them; Validate has seeds of its own."),
                io.Int.Input("steps", default=30, min=1, max=200, tooltip="Denoising steps. The distilled schedule always has 8."),
                io.Float.Input("video_cfg", default=5.0, min=0.0, max=30.0, step=0.1, tooltip="How closely the picture follows the prompt. Above 6 colours burn, below 2 video turns dark or noisy."),
                io.Float.Input("audio_cfg", default=0.0, min=0.0, max=30.0, step=0.1, tooltip="The same for the sound. 0 takes the picture's."),
                io.Combo.Input("schedule", options=list(SCHEDULES), default="dynamic", tooltip="dynamic shifts the noise levels by the clip's size; official takes one size for all; distilled is the list of the distilled adapter."),
                io.Combo.Input("sampler", options=list(SAMPLERS), default="euler", extra_dict=ADVANCED, tooltip="euler is fast. heun is of second order and takes twice the time a step."),
                io.Float.Input("rescale", default=0.0, min=0.0, max=1.0, step=0.05, extra_dict=ADVANCED, tooltip="Brings the contrast that guidance adds back by this share. The official pipelines use 0.7 with all guidance terms."),
                io.Float.Input("stg", default=0.0, min=0.0, max=10.0, step=0.1, extra_dict=ADVANCED, tooltip="Spatio-temporal guidance: away from the result of a model with one self-attention left out. 1 makes motion steadier and costs a third pass a step."),
                io.Int.Input("stg_block", default=28, min=0, max=47, extra_dict=ADVANCED, tooltip="The block whose self-attention is left out for stg."),
                io.Float.Input("modality", default=1.0, min=0.0, max=10.0, step=0.1, extra_dict=ADVANCED, tooltip="Away from the result without the other modality: brings picture and sound closer together. 1 is off; 3 in the official pipelines; costs another pass a step."),
                io.Combo.Input("av_cross_timestep", options=list(CROSS_TIMESTEP_RULES), default="official", extra_dict=ADVANCED, tooltip="Which noise level the attention between picture and sound is told. Keep official; the others only serve to compare with other programs."),
            ],
            outputs=[SampleSettingsWire.Output("settings", tooltip="For Sample, Sample Sound and Validate.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, preset: str, seeds: str, audio_cfg: float, **values) -> io.NodeOutput:
        with running():
            values |= {"seeds": parse_seeds(seeds), "audio_cfg": audio_cfg or None}
            return io.NodeOutput(SampleSettings.from_dict({**values, **_preset(preset)}))


def _preset(name: str) -> dict:
    return {} if name == _CUSTOM else preset(name)


class LTX2Keyframe(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2Keyframe", display_name="LTX-2 Keyframe", category=f"{CATEGORY}/sample",
            description="A picture that the clip shows at a chosen frame. Chain several.",
            inputs=[
                KeyframesWire.Input("keyframes", optional=True, tooltip="Keyframes from another of these nodes, to which this one is added."),
                io.Image.Input("image", tooltip="The picture, of any size: it is fitted and cropped."),
                io.Int.Input("frame", default=0, min=-1025, max=1024, tooltip="The frame at which it is shown; 0 is the first, which is then kept exactly, and -1 the last."),
                io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="1 shows the picture to the model as it is; less lets the model change it."),
            ],
            outputs=[KeyframesWire.Output("keyframes", tooltip="For Sample and Validate.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, image, frame: int, strength: float, keyframes=()) -> io.NodeOutput:
        with running():
            return io.NodeOutput((*keyframes, Picture(from_images(image[:1]), frame, strength)))


class LTX2Sample(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2Sample", display_name="LTX-2 Sample", category=f"{CATEGORY}/sample",
            description="Makes video and sound. The mode follows the wires: a picture, keyframes, a sound, a video that gets sound, or a clip that goes on.",
            inputs=[
                CheckpointWire.Input("checkpoint", tooltip="The checkpoint, with adapters applied or without."),
                SampleSettingsWire.Input("settings", tooltip="Size, length, seeds and guidance."),
                ConditioningWire.Input("positive", tooltip="The prompt: what to show and what to hear."),
                ConditioningWire.Input("negative", optional=True, tooltip="What to keep away from; needed unless both guidance scales are 1."),
                io.Image.Input("image", optional=True, tooltip="The first frame."),
                KeyframesWire.Input("keyframes", optional=True, tooltip="Pictures at chosen frames, from Keyframe."),
                io.Audio.Input("audio", optional=True, tooltip="A sound for which the video is made. It stays as it is and is the result's own."),
                io.Image.Input("video", optional=True, tooltip="All frames of a video that gets sound, at the settings' frame_rate. It stays as it is; only sound is made."),
                io.Image.Input("begin_images", optional=True, tooltip="The last frames of a clip that goes on, 8k+1 of them (9 or 17 are good), at the settings' frame_rate. They are kept and new frames follow."),
                io.Audio.Input("begin_audio", optional=True, tooltip="The sound of begin_images, kept as well. Its end belongs to the end of the frames."),
                io.Combo.Input("sound_fit", options=list(SOUND_FITS), default="fit_sound", tooltip="For an audio that is not as long as the clip: fit_sound cuts it or adds silence, fit_video makes the clip as long as the sound, refuse stops with a message."),
            ],
            outputs=[
                LatentsWire.Output("latents", tooltip="For Decode, or To Native Latent."),
                io.String.Output("mode", tooltip="What was made of what: text to video, image to video, video to sound ..."),
                io.Int.Output("kept_frames", tooltip="How many frames of begin_images the result begins with, for Join Clips."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, settings, positive, sound_fit: str = "fit_sound", negative=None, **wires) -> io.NodeOutput:
        with running() as host:
            services = {"residency": host.residency, "reporter": host.reporter, "stop": host.stop}
            given = given_of(sound_fit=sound_fit, **wires)
            kept = snap_frames(len(given.beginning.frames)).value if given.beginning else 0
            return io.NodeOutput(make(checkpoint, settings, positive, negative, given, **services), given.mode, kept)


def given_of(*, sound_fit: str, image=None, keyframes=(), audio=None, video=None, begin_images=None, begin_audio=None) -> Given:
    """The wires as the core takes them."""
    first = () if image is None else (Picture(from_images(image[:1])),)
    sound = None if begin_audio is None else from_audio(begin_audio)
    return Given(
        (*first, *(keyframes or ())), None if begin_images is None else Beginning(from_images(begin_images), sound),
        None if audio is None else from_audio(audio), sound_fit, None if video is None else from_images(video),
    )  # fmt: skip


class LTX2SampleSound(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2SampleSound", display_name="LTX-2 Sample Sound", category=f"{CATEGORY}/sample",
            description="Makes sound alone, without computing any picture: fast, and the way to hear an adapter that was trained on sound only.",
            inputs=[
                CheckpointWire.Input("checkpoint", tooltip="The checkpoint, with adapters applied or without."),
                SampleSettingsWire.Input("settings", tooltip="frames / frame_rate is the length in seconds; audio_cfg the guidance."),
                ConditioningWire.Input("positive", tooltip="The prompt: what to hear."),
                ConditioningWire.Input("negative", optional=True, tooltip="What to keep away from; needed unless the guidance scale is 1."),
            ],
            outputs=[io.Audio.Output("audio", is_output_list=True, tooltip="One sound a seed.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, settings, positive, negative=None) -> io.NodeOutput:
        with running() as host:
            latents = text_to_sound(checkpoint, settings, positive, negative, residency=host.residency, reporter=host.reporter, stop=host.stop)
            seconds = settings.snapped()[0].frames / settings.frame_rate
            return io.NodeOutput([to_host_audio(w) for w in decode_sound(checkpoint, latents, seconds, host.residency)])


class LTX2JoinClips(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2JoinClips", display_name="LTX-2 Join Clips", category=f"{CATEGORY}/sample",
            description="A clip and its extension as one: the frames that both show are taken once.",
            inputs=[
                io.Image.Input("images", tooltip="All frames of the clip."),
                io.Image.Input("extension", tooltip="All frames of the extension, from Decode."),
                io.Audio.Input("audio", optional=True, tooltip="The clip's sound."),
                io.Audio.Input("extension_audio", optional=True, tooltip="The extension's sound, from Decode."),
                io.Int.Input("kept_frames", default=9, min=0, max=1025, tooltip="How many frames of the clip the extension begins with, as Sample says."),
                io.Float.Input("frame_rate", default=25.0, min=1.0, max=120.0, step=0.001, tooltip="Frames a second of both."),
            ],
            outputs=[
                io.Image.Output("images", tooltip="All frames of both."),
                io.Audio.Output("audio", tooltip="Their sound; empty unless both have one."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, images, extension, kept_frames: int, frame_rate: float, audio=None, extension_audio=None) -> io.NodeOutput:
        with running():
            joined = join_frames(images[..., :3], extension[..., :3], kept_frames)
            if audio is None or extension_audio is None:
                return io.NodeOutput(joined, None)
            sound = join_sound(from_audio(audio), from_audio(extension_audio), kept_frames / frame_rate, len(images) / frame_rate)
            return io.NodeOutput(joined, to_host_audio(sound))


NODES = [LTX2SampleSettings, LTX2Keyframe, LTX2Sample, LTX2SampleSound, LTX2JoinClips]
