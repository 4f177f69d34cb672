"""Training in pieces, with ordinary nodes between them."""

from __future__ import annotations

from comfy_api.latest import io

from .adapters import WeightedAdapter
from .base import CATEGORY, AdapterWire, CacheWire, CheckpointWire, LoRASettingsWire, MemoryWire, TrainSettingsWire
from .training import is_name, train_run


class LTX2TrainSegment(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2TrainSegment",
            display_name="LTX-2 Train Segment",
            category=f"{CATEGORY}/train",
            description="Trains some more steps of a run and hands the LoRA on, so that the graph samples with it. Queue again and the run goes on, until it has all its steps.",
            is_output_node=True,
            inputs=[
                CheckpointWire.Input("checkpoint", tooltip="The base model. Its weights are not changed."),
                CacheWire.Input("cache", tooltip="The clips, from Cache Dataset."),
                LoRASettingsWire.Input("lora", tooltip="What is trained, from LoRA Settings."),
                TrainSettingsWire.Input("settings", tooltip="How it is trained, from Train Settings. Its steps are those of the whole run."),
                io.String.Input("name", default="ltx2_lora", tooltip="File name in models/loras, without .safetensors. Train LoRA with the same name goes on with the same run."),
                io.Int.Input("segment_steps", default=250, min=1, max=1_000_000, tooltip="Steps of each piece. The run ends at the steps of its settings, so the last piece may be shorter."),
                CacheWire.Input("validation", optional=True, tooltip="Held-out clips for the validation loss. Without them the first training clips serve, which tells less."),
                AdapterWire.Input("adapter", optional=True, tooltip="A LoRA to begin with; its rank must be the settings'."),
                MemoryWire.Input("memory", optional=True, tooltip="Where the base model lies, from Memory Settings. Without it the fastest way that fits the card is chosen and said."),
                CacheWire.Input("references", optional=True, tooltip="Reference videos (IC-LoRA), cached from a folder whose files have the clips' names."),
                CacheWire.Input("regularisation", optional=True, tooltip="Clips that the LoRA shall leave as the base makes them, so that it does not forget."),
            ],
            outputs=[
                AdapterWire.Output("adapter", tooltip="The LoRA as it is now, for Apply Adapters."),
                io.String.Output("lora_name", tooltip="Its file name under models/loras."),
                io.Image.Output("loss", tooltip="The losses so far as a picture."),
                io.Int.Output("step", tooltip="The step that was reached, for file names."),
            ],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, name: str | None = None, **kwargs):
        """The step that the run has reached: it changes with every piece, so that queueing again trains the next one."""
        from ..ltx2core.train.segment import reached_step
        from .host.context import host

        return reached_step(host().paths.runs_dir() / name) if name and is_name(name) else 0

    @classmethod
    def execute(cls, checkpoint, cache, lora, settings, name: str, segment_steps: int, validation=None, adapter=None, memory=None, references=None, regularisation=None) -> io.NodeOutput:
        done = train_run(
            checkpoint, cache, lora, settings, name, segment=segment_steps, adapter=adapter, memory=memory,
            validation=validation, references=references, regularisation=regularisation,
        )  # fmt: skip
        return io.NodeOutput(WeightedAdapter(done.result.adapter), done.file, done.picture, done.result.steps, ui=done.ui)


NODES = [LTX2TrainSegment]
