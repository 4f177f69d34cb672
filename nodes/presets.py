"""Settings for a purpose instead of numbers."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io

from ..ltx2core.presets import NAMES, preset
from ..ltx2core.train.settings import OPTIMIZERS
from .base import ADVANCED, CATEGORY, LoRASettingsWire, TrainSettingsWire
from .host.language import told


class LTX2TrainPreset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2TrainPreset",
            display_name="LTX-2 Train Preset",
            category=f"{CATEGORY}/train",
            description="LoRA Settings and Train Settings for a purpose. Every value comes from a published configuration or report, which the report names.",
            inputs=[
                io.Combo.Input("preset", options=list(NAMES), default="subject", tooltip="subject: a person, animal or thing, with its voice. style: a look, sound untouched. motion: of the camera or of what is seen, sound untouched. voice: sound alone, much faster."),
                io.Int.Input("steps", default=0, min=0, max=1_000_000, tooltip="Optimizer steps. 0 takes the preset's: 2000, for voice 3000."),
                io.Int.Input("rank", default=0, min=0, max=512, tooltip="Size of the LoRA; alpha follows. 0 takes the preset's: 32, for style 16."),
                io.Int.Input("seed", default=42, min=0, max=2**32 - 1, control_after_generate=False, tooltip="Order of clips, noise and noise levels. The same seed on the same machine gives the same LoRA."),
                io.Combo.Input("optimizer", options=list(OPTIMIZERS), default="adamw", tooltip="adamw is exact; adamw_bf16 needs a sixth of its memory and rounds stochastically; adamw_8bit is between. prodigy and lion want other learning rates: use Train Settings for them."),
                io.Int.Input("checkpoint_every", default=250, min=0, max=1_000_000, extra_dict=ADVANCED, tooltip="Steps between saved states, from which an interrupted run goes on. 0 saves only at the end or when interrupted."),
                io.Int.Input("validate_every", default=250, min=0, max=1_000_000, extra_dict=ADVANCED, tooltip="Steps between validation losses. 0 only at the start and the end."),
                io.Combo.Input("dtype", options=["bf16", "float32", "auto"], default="bf16", extra_dict=ADVANCED, tooltip="Type of the trained weights in the forward pass. bf16 is right for real models; float32 for tests on a processor."),
            ],
            outputs=[
                LoRASettingsWire.Output("lora", tooltip="For Train LoRA, in place of LoRA Settings."),
                TrainSettingsWire.Output("settings", tooltip="For Train LoRA or for a method, in place of Train Settings."),
                io.String.Output("report", tooltip="Every value with its source, and what is known about the clips that it needs."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, preset: str, steps: int, rank: int, seed: int, optimizer: str, checkpoint_every: int, validate_every: int, dtype: str) -> io.NodeOutput:
        return io.NodeOutput(*_settings(preset, steps, rank, seed=seed, optimizer=optimizer, checkpoint_every=checkpoint_every, validate_every=validate_every, dtype=dtype))


def _settings(name: str, steps: int, rank: int, **own):
    chosen = preset(name)
    run = chosen.config()
    lora = replace(run.lora, rank=rank, alpha=float(rank)) if rank else run.lora
    return lora, replace(run.train, steps=steps or run.train.steps, **own), chosen.report(told)


NODES = [LTX2TrainPreset]
