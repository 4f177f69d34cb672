"""SimpleTuner's configuration on the canvas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from comfy_api.latest import io

from ..ltx2core.data.scan import scan
from ..ltx2core.data.spec import DatasetSpec
from ..ltx2core.errors import LTX2Error
from ..ltx2core.runspec import RunFile
from ..ltx2core.simpletuner.importer import ImportedRun, datasets_of, import_files
from ..ltx2core.simpletuner.report import Report
from ..ltx2core.strict import from_dict
from .base import ADVANCED, CATEGORY, DatasetWire, LoRASettingsWire, MemoryWire, TrainSettingsWire, running
from .folders import folder_state

# What the datasets of a run are for.
_ROLES = {"train": "its clips are trained on", "validation": "its clips are held out", "references": "its clips are references", "regularisation": "its clips are for regularisation"}


def _path(host, name: str) -> Path | None:
    return host.paths.input_folder(name.strip()) if name.strip() else None


def _imported(host, config: str, datasets: str, root: str) -> ImportedRun:
    path = _path(host, config)
    if path is None:
        raise LTX2Error("The config is empty; give the path of SimpleTuner's config.json.")
    return import_files(path, _path(host, datasets), root=_path(host, root))


def _told(report: Report, found: Sequence[tuple[str, DatasetSpec]], which: int) -> str:
    """The report and the numbers of the datasets, in the host's language; told by lines, so that values stay what they are."""
    from .host.language import told

    datasets = (f"  {n} {spec.name}: {told(_ROLES[role])}" for n, (role, spec) in enumerate(found, 1))
    return "\n".join([report.said(told), "", told(f"Datasets to choose from with which; this one is {which}:"), *datasets])


class LTX2ImportSimpleTuner(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2ImportSimpleTuner",
            display_name="LTX-2 Import SimpleTuner",
            category=f"{CATEGORY}/train",
            description="Reads SimpleTuner's configuration and datasets, and gives them to Cache Dataset and Train LoRA. Says of every option whether it is honoured, done in another way, or not applicable; an unknown one is an error.",
            is_output_node=True,
            inputs=[
                io.String.Input("config", default="config.json", tooltip="Path of config.json, config.toml, config.env or a file of --option value: in full, or inside ComfyUI's input folder."),
                io.String.Input("datasets", default="", tooltip="Path of multidatabackend.json. Empty takes the one that the configuration names."),
                io.Int.Input("which", default=1, min=1, max=100, tooltip="Which of the file's datasets the output dataset is, from 1, as the report numbers them: those to train on, then held-out clips, references and regularisation. Use the node once for each."),
                io.String.Input("root", default="", extra_dict=ADVANCED, tooltip="The folder from which relative paths in the files start. Empty is the folder from which the configuration names the datasets' file, else its own."),
            ],
            outputs=[
                io.String.Output("run", tooltip="The whole run as JSON: save it, and python -m ltx2core runs it without ComfyUI."),
                io.String.Output("report", tooltip="What became of every option."),
                DatasetWire.Output("dataset", tooltip="For Cache Dataset."),
                LoRASettingsWire.Output("lora", tooltip="For Train LoRA."),
                TrainSettingsWire.Output("settings", tooltip="For Train LoRA, or for a method."),
                MemoryWire.Output("memory", tooltip="For Train LoRA."),
                io.String.Output("name", tooltip="The name of the LoRA, for Train LoRA."),
            ],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, config: str = "", datasets: str = "", which: int = 1, root: str = ""):
        from .host.context import host

        files = [_path(host(), name) for name in (config, datasets)]
        states = [f"{p}|{p.stat().st_mtime_ns}" for p in files if p is not None and p.is_file()]
        try:
            # The datasets' file that the configuration names is no input: what was read of it tells when it changed.
            imported = _imported(host(), config, datasets, root).run
            found = datasets_of(from_dict(RunFile, imported, "run"))
            return [*states, json.dumps(imported), *(folder_state(Path(spec.folder)) for _, spec in found)]
        except LTX2Error as error:
            return [*states, str(error)]

    @classmethod
    def execute(cls, config: str, datasets: str = "", which: int = 1, root: str = "") -> io.NodeOutput:
        with running() as host:
            imported = _imported(host, config, datasets, root)
            run = from_dict(RunFile, imported.run, "run")
            found = datasets_of(run)
            if which > len(found):
                numbered = ", ".join(f"{n} {spec.name}" for n, (_, spec) in enumerate(found, 1))
                raise LTX2Error(f"The files have {len(found)} datasets and which is {which}; choose one of them: {numbered}.")
            index = scan(found[which - 1][1], host.reporter, host.paths.cache_dir() / "scan.sqlite3")
            report = _told(imported.report, found, which)
            return io.NodeOutput(
                json.dumps(imported.run, indent=1, ensure_ascii=False), report, index, run.config.lora, run.config.train, run.memory_settings, run.name,
                ui={"text": [report]},
            )  # fmt: skip


NODES = [LTX2ImportSimpleTuner]
