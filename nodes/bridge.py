"""Between this pack and the host's own LTX-2 nodes."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..ltx2core.checkpoint.adapter_tools import check_strength
from ..ltx2core.errors import LTX2Error
from ..ltx2core.geometry import audio_latent_length, pixel_frames
from ..ltx2core.sample.loop import Latents
from ..ltx2core.text.features import from_side_by_side, side_by_side
from .base import CATEGORY, AdapterWire, ConditioningWire, LatentsWire, running
from .host.nested import join_latent, split_latent
from .host.patched import with_adapter

# Beside a prompt in hosts whose model, not their text encoder, runs the connectors.
_UNFINISHED = "unprocessed_ltxav_embeds"


class LTX2FromNativeLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2FromNativeLatent",
            display_name="LTX-2 From Native Latent",
            category=f"{CATEGORY}/bridge",
            description="Takes the audio-video LATENT of ComfyUI's own LTX-2 nodes into this pack.",
            inputs=[
                io.Latent.Input("latent", tooltip="A joined audio-video latent, or a video latent alone (its sound is then silence in latent form: zeros)."),
                io.Float.Input("frame_rate", default=25.0, min=1.0, max=120.0, step=0.001, tooltip="Frames a second of the video. It sets how long the sound is; give the rate that the latent was made with."),
            ],
            outputs=[LatentsWire.Output("latents", tooltip="For Decode.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, latent: dict, frame_rate: float) -> io.NodeOutput:
        with running():
            video, audio = split_latent(latent["samples"])
            if video.ndim != 5 or video.shape[1] != 128:
                raise LTX2Error(f"The latent has shape {tuple(video.shape)}; LTX-2 needs [batch, 128, frames, height/32, width/32].")
            if audio is None:
                length = audio_latent_length(pixel_frames(video.shape[2]), frame_rate)
                audio = torch.zeros(video.shape[0], 8, length, 16, device=video.device, dtype=video.dtype)
            return io.NodeOutput(Latents(video.clone(), audio.clone(), frame_rate))


class LTX2ToNativeLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2ToNativeLatent",
            display_name="LTX-2 To Native Latent",
            category=f"{CATEGORY}/bridge",
            description="Gives this pack's latents to ComfyUI's own LTX-2 nodes, as one joined audio-video LATENT.",
            inputs=[LatentsWire.Input("latents", tooltip="From one of the sampling nodes.")],
            outputs=[io.Latent.Output("latent", tooltip="Video and sound, as LTXVSeparateAVLatent and the samplers take them.")],
        )

    @classmethod
    def execute(cls, latents) -> io.NodeOutput:
        return io.NodeOutput({"samples": join_latent(latents.video.float().cpu(), latents.audio.float().cpu())})


class LTX2ToNativeConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2ToNativeConditioning",
            display_name="LTX-2 To Native Conditioning",
            category=f"{CATEGORY}/bridge",
            description="Gives encoded prompts to ComfyUI's own LTX-2 nodes.",
            inputs=[
                ConditioningWire.Input("conditioning", tooltip="From Encode Prompt."),
                io.Float.Input("frame_rate", default=25.0, min=1.0, max=120.0, step=0.001, tooltip="Frames a second, which the host keeps with the conditioning."),
            ],
            outputs=[io.Conditioning.Output("conditioning", tooltip="For CFGGuider, KSampler and the LTXV nodes.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, conditioning, frame_rate: float) -> io.NodeOutput:
        return io.NodeOutput([[side_by_side(conditioning), {"frame_rate": frame_rate}]])


class LTX2FromNativeConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2FromNativeConditioning",
            display_name="LTX-2 From Native Conditioning",
            category=f"{CATEGORY}/bridge",
            description="Takes a prompt that ComfyUI's own LTX-2 text encoder encoded into this pack.",
            inputs=[io.Conditioning.Input("conditioning", tooltip="One prompt of CLIP Text Encode with LTX-2's Gemma3; its frame rate is not used here.")],
            outputs=[ConditioningWire.Output("conditioning", tooltip="For the sampling nodes.")],
        )

    @classmethod
    def execute(cls, conditioning: list) -> io.NodeOutput:
        with running():
            if len(conditioning) != 1:
                raise LTX2Error(f"The conditioning holds {len(conditioning)} prompts, and sampling here takes one; combine the texts before they are encoded.")
            ((joined, options),) = conditioning
            if options.get(_UNFINISHED):
                raise LTX2Error("This ComfyUI hands on prompts that the model still has to finish; encode the prompt with LTX-2 Encode Prompt.")
            return io.NodeOutput(from_side_by_side(joined))


class LTX2AdapterToNativeModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2AdapterToNativeModel",
            display_name="LTX-2 Adapter To Native Model",
            category=f"{CATEGORY}/bridge",
            description="Puts an adapter of this pack on the MODEL of ComfyUI's own LTX-2 loaders.",
            inputs=[
                io.Model.Input("model", tooltip="LTX-2, from ComfyUI's own loaders."),
                AdapterWire.Input("adapter", tooltip="From Load Adapter or Train LoRA."),
                io.Float.Input("strength", default=1.0, min=-10.0, max=10.0, step=0.05, tooltip="How strongly it acts, times its own strength. 0 hands the model on as it is."),
            ],
            outputs=[io.Model.Output("model", tooltip="For CFGGuider, KSampler and every other node of ComfyUI's own.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, adapter, strength: float) -> io.NodeOutput:
        with running():
            total = check_strength(adapter.adapter.name, adapter.strength * strength)
            return io.NodeOutput(model if total == 0 else with_adapter(model, adapter.adapter, total))


NODES = [LTX2FromNativeLatent, LTX2ToNativeLatent, LTX2ToNativeConditioning, LTX2FromNativeConditioning, LTX2AdapterToNativeModel]
