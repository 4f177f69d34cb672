"""Two stages: half size, upscale the latents, refine them."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.errors import LTX2Error
from ..ltx2core.hub import find_file
from ..ltx2core.models.upsampler import open_upsampler
from ..ltx2core.sample.given import Picture
from ..ltx2core.sample.settings import SAMPLERS
from ..ltx2core.sample.sigmas import SECOND_STAGE
from ..ltx2core.sample.two_stage import RefineSettings, half_size, parse_sigmas, refine
from ..ltx2core.sample.upscale import upscale_latents
from .base import ADVANCED, CATEGORY, CheckpointWire, ConditioningWire, KeyframesWire, LatentsWire, SampleSettingsWire, UpscalerWire, running
from .host import names
from .host.media import from_images

_NONE = "(none)"


class LTX2LoadUpscaler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2LoadUpscaler",
            display_name="Load LTX-2 Upscaler",
            category=f"{CATEGORY}/load",
            description="Opens the latent upscaler of LTX-2 that doubles width and height. Its weights are read when they are needed.",
            inputs=[
                io.Combo.Input("upscaler", options=[_NONE, *names.latent_upscalers()], default=_NONE, tooltip="The spatial x2 upscaler in models/latent_upscale_models, for example ltx-2-spatial-upscaler-x2-1.0.safetensors."),
                io.String.Input("hub_file", default="", tooltip="Leave empty, or give repo_id:file or a path to use in place of the list, for example Lightricks/LTX-2:ltx-2-spatial-upscaler-x2-1.0.safetensors."),
                io.Boolean.Input("allow_download", default=False, tooltip="Off: nothing is ever downloaded. On: a hub_file that is not on this machine is downloaded, and its size is said first."),
            ],
            outputs=[UpscalerWire.Output("upscaler", tooltip="For Upscale Latents.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, upscaler: str, hub_file: str = "", allow_download: bool = False) -> io.NodeOutput:
        with running() as host:
            if hub_file.strip():
                return io.NodeOutput(open_upsampler(find_file(hub_file, allow_download=allow_download, reporter=host.reporter, stop=host.stop)))
            if upscaler == _NONE:
                raise LTX2Error("No upscaler is chosen; put one into models/latent_upscale_models and choose it, or give hub_file.")
            return io.NodeOutput(open_upsampler(host.paths.latent_upscaler(upscaler)))


class LTX2HalfSize(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2HalfSize",
            display_name="LTX-2 Half Size",
            category=f"{CATEGORY}/sample",
            description="Settings of the first of two stages: half the width and height of what is wanted.",
            inputs=[SampleSettingsWire.Input("settings", tooltip="Settings of the result. Its sides are cut down to multiples of 64, and that is said.")],
            outputs=[SampleSettingsWire.Output("settings", tooltip="The same at half the size, for the node that samples first.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, settings) -> io.NodeOutput:
        with running() as host:
            small, _, messages = half_size(settings)
            for text in messages:
                host.reporter.message(text, "warning")
            return io.NodeOutput(small)


class LTX2UpscaleLatents(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2UpscaleLatents",
            display_name="LTX-2 Upscale Latents",
            category=f"{CATEGORY}/sample",
            description="Doubles width and height without a trip through pixels. The result is soft until Refine Latents has gone over it.",
            inputs=[
                CheckpointWire.Input("checkpoint", tooltip="The checkpoint whose VAE the latents are of."),
                UpscalerWire.Input("upscaler", tooltip="From Load Upscaler."),
                LatentsWire.Input("latents", tooltip="From a sampling node. Sound is passed on unchanged."),
            ],
            outputs=[LatentsWire.Output("latents", tooltip="For Refine Latents, or for Decode as they are.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, upscaler, latents) -> io.NodeOutput:
        with running() as host:
            return io.NodeOutput(upscale_latents(latents, checkpoint, upscaler, host.residency))


class LTX2RefineLatents(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2RefineLatents",
            display_name="LTX-2 Refine Latents",
            category=f"{CATEGORY}/sample",
            description="The second stage: a short denoise of enlarged latents that brings back fine detail. Without guidance, so each step is one pass.",
            inputs=[
                CheckpointWire.Input("checkpoint", tooltip="The checkpoint with the distilled adapter applied, beside those of the first stage."),
                LatentsWire.Input("latents", tooltip="From Upscale Latents. A sound that was given to the first stage stays as it is."),
                ConditioningWire.Input("positive", tooltip="The prompt of the first stage."),
                io.Image.Input("image", optional=True, tooltip="The first frame, when the first stage had one: it is encoded again at the full size."),
                KeyframesWire.Input("keyframes", optional=True, tooltip="The keyframes of the first stage."),
                io.Int.Input("seed", default=0, min=0, max=2**32 - 1, control_after_generate=False, tooltip="The noise of this stage."),
                io.String.Input("sigmas", default=", ".join(map(str, SECOND_STAGE)), tooltip="Noise levels from at most 1 down to 0. The default is the distilled adapter's; a lower first number keeps more of the first stage."),
                io.Boolean.Input("keep_sound", default=True, tooltip="On: the first stage's sound stays, as in the official pipeline. Off: sound is refined too."),
                io.Combo.Input("sampler", options=list(SAMPLERS), default="euler", extra_dict=ADVANCED, tooltip="euler is fast. heun is of second order and takes twice the time a step."),
            ],
            outputs=[LatentsWire.Output("latents", tooltip="For Decode, or To Native Latent.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, latents, positive, seed: int, sigmas: str, keep_sound: bool, sampler: str = "euler", image=None, keyframes=()) -> io.NodeOutput:
        with running() as host:
            services = {"residency": host.residency, "reporter": host.reporter, "stop": host.stop}
            first = () if image is None else (Picture(from_images(image[:1])),)
            settings = RefineSettings(seed, parse_sigmas(sigmas), keep_sound, sampler)
            return io.NodeOutput(refine(checkpoint, latents, positive, settings, (*first, *(keyframes or ())), **services))


NODES = [LTX2LoadUpscaler, LTX2HalfSize, LTX2UpscaleLatents, LTX2RefineLatents]
