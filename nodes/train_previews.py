"""Films made while a LoRA is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from comfy_api.latest import io

from ..ltx2core.errors import LTX2Error
from ..ltx2core.sample.reference import Reference
from ..ltx2core.sample.settings import SampleSettings
from ..ltx2core.train.preview_clips import PreviewJob
from .base import CATEGORY, ConditioningWire, PreviewsWire, SampleSettingsWire


@dataclass(frozen=True)
class Previews:
    """What the wire LTX2_PREVIEWS carries: ``jobs`` made every ``every`` steps."""

    every: int
    jobs: tuple[PreviewJob, ...]


class LTX2TrainingPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2TrainingPreview",
            display_name="LTX-2 Training Preview",
            category=f"{CATEGORY}/train",
            description="A film that Train LoRA makes at the start, every so many steps and at the end, with the LoRA as it is then. Put several in a row for several prompts.",
            inputs=[
                ConditioningWire.Input("positive", tooltip="The prompt: what to show and what to hear."),
                ConditioningWire.Input("negative", optional=True, tooltip="What to keep away from; needed when the guidance is not 1."),
                PreviewsWire.Input("previews", optional=True, tooltip="Another Training Preview, whose films are made too."),
                SampleSettingsWire.Input("settings", optional=True, tooltip="All sample settings, in place of the sizes, steps, guidance and seed below."),
                io.Image.Input("image", optional=True, tooltip="The first frame, for image to video."),
                io.Audio.Input("audio", optional=True, tooltip="The sound, for sound to video."),
                io.String.Input("name", default="preview", tooltip="Of the film: step-000250-preview.mp4 in the run's folder. Letters, digits, dots, - and _."),
                io.Int.Input("every", default=250, min=1, max=1_000_000, tooltip="Steps between two films. Of several in a row, the last one's number counts. Each film costs as much time as a sampling."),
                io.Int.Input("width", default=512, min=64, max=4096, step=32, tooltip="Pixels, cut down to a multiple of 32. Small films tell enough."),
                io.Int.Input("height", default=320, min=64, max=4096, step=32, tooltip="Pixels, cut down to a multiple of 32."),
                io.Int.Input("frames", default=49, min=1, max=1025, tooltip="Frames, cut down to 8k+1, at 25 a second."),
                io.Int.Input("steps", default=20, min=1, max=200, tooltip="Denoising steps of each film."),
                io.Float.Input("video_cfg", default=4.0, min=0.0, max=30.0, step=0.1, tooltip="How closely picture and sound follow the prompt. 1 needs no negative prompt."),
                io.Int.Input("seed", default=0, min=0, max=2**32 - 1, control_after_generate=False, tooltip="The noise: the same in all films, so that they can be compared."),
                io.Image.Input("reference", optional=True, tooltip="For a run with reference videos (IC-LoRA): all frames of one that the film follows, at the film's frame rate and at least as many as the film has. Fitted and cropped to the film's shape. Without it the film shows the model without what it is trained to follow."),
            ],
            outputs=[PreviewsWire.Output("previews", tooltip="For Train LoRA, or for another Training Preview.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, positive, name: str, every: int, negative=None, previews=None, settings=None, image=None, audio=None, reference=None, **values) -> io.NodeOutput:
        from .host.media import from_audio, from_images

        chosen = SampleSettings.from_dict(values) if settings is None else replace(settings, batch=1)
        sound = None if audio is None else from_audio(audio)
        # Frames that the film has no use for would lie in memory as long as the run lasts.
        followed = None if reference is None else Reference(from_images(reference[: chosen.frames]))
        job = PreviewJob(name, positive, negative, chosen, None if image is None else from_images(image)[:1], sound, followed)
        before = () if previews is None else previews.jobs
        if name in {j.name for j in before}:
            raise LTX2Error(f"Two previews are named {name}; give each its own name.")
        return io.NodeOutput(Previews(every, (*before, job)))


NODES = [LTX2TrainingPreview]
