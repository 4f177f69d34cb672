"""A check of everything that is wired, before anything large is loaded."""

from __future__ import annotations

import json

from comfy_api.latest import io

from ..ltx2core.errors import LTX2Error
from ..ltx2core.preflight.check import Subject, check, looked
from ..ltx2core.preflight.finding import Preflight
from ..ltx2core.preflight.space import Free
from ..ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from .base import CATEGORY, CheckpointWire, DatasetWire, LoRASettingsWire, MemoryWire, TextEncoderWire, TrainSettingsWire, running
from .messages import in_languages

_STOP, _GO_ON = "stop", "go on"


def _free(device) -> Free:
    from ..ltx2core.memory.plan import free_device_bytes, free_host_bytes
    from ..ltx2core.memory.streams import can_capture

    return Free(free_device_bytes(device), free_host_bytes(), can_capture(device)) if device.type == "cuda" else Free()


class LTX2Preflight(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2Preflight",
            display_name="LTX-2 Preflight",
            category=f"{CATEGORY}/data",
            description="Says what is wrong or missing before a run: models that do not fit, clips left out, captions without motion, other frame rates, sound, disk and memory. Takes seconds; nothing large is loaded.",
            is_output_node=True,
            inputs=[
                DatasetWire.Input("dataset", tooltip="From Video Dataset. It is given on unchanged, so that the check stands before Cache Dataset."),
                CheckpointWire.Input("checkpoint", optional=True, tooltip="From Load Checkpoint: disk and memory are predicted for it."),
                TextEncoderWire.Input("text_encoder", optional=True, tooltip="From Load Text Encoder: whether it fits the checkpoint."),
                LoRASettingsWire.Input("lora", optional=True, tooltip="From LoRA Settings; without it the usual ones are assumed."),
                TrainSettingsWire.Input("settings", optional=True, tooltip="From Train Settings; without it the usual ones are assumed."),
                MemoryWire.Input("memory", optional=True, tooltip="From Memory Settings; without it what is free decides."),
                io.Combo.Input("on_error", options=[_STOP, _GO_ON], default=_STOP, tooltip="stop ends the graph here when the run would fail anyway; go on lets it run."),
            ],
            outputs=[
                DatasetWire.Output("dataset", tooltip="The same dataset, for Cache Dataset."),
                io.String.Output("report", tooltip="All findings as text, the gravest first."),
                io.String.Output("findings", tooltip="The same as JSON, for programs: severity, topic, text, advice and files of each."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, dataset, checkpoint=None, text_encoder=None, lora=None, settings=None, memory=None, on_error: str = _STOP) -> io.NodeOutput:
        from .host.language import told

        with running() as host:
            subject = Subject(
                (looked(dataset, host.paths.cache_dir() / "scan.sqlite3"),), RunConfig(lora or LoRASettings(), settings or TrainSettings()), host.paths.output_dir(),
                checkpoint.checkpoint if checkpoint is not None else None, text_encoder, memory,
            )  # fmt: skip
            result = Preflight.of(check(subject, _free(host.residency.device)))
        if result.errors and on_error == _STOP:
            first = f"{result.errors[0].text} {result.errors[0].advice}".rstrip()
            raise LTX2Error(f"{len(result.errors)} finding(s) would end this run. The first: {first}")
        shown = {"text": [told(str(result))], "findings": [in_languages(f.to_dict(), "text", "advice") for f in result.findings]}
        return io.NodeOutput(dataset, told(str(result)), json.dumps(result.to_dict(), ensure_ascii=False), ui=shown)


NODES = [LTX2Preflight]
