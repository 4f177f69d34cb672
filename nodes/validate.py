"""Prompts, adapters and seeds side by side."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.cache.store import Store
from ..ltx2core.errors import LTX2Error
from ..ltx2core.media.write import CODECS
from ..ltx2core.sample.given import SOUND_FITS
from ..ltx2core.sample.plan import DATASET_MODES, Column, Plan, columns_of, dataset_negative, dataset_rows, library_rows, slug
from ..ltx2core.sample.prompts import built_in, encode_library, parse_library, read_library
from ..ltx2core.sample.reference import Reference
from ..ltx2core.sample.scores import load_picture_model
from ..ltx2core.sample.settings import parse_seeds
from ..ltx2core.sample.validate import validate
from .base import (
    ADVANCED, CATEGORY, AdapterWire, CacheWire, CheckpointWire, ColumnsWire, KeyframesWire, PromptsWire, SampleSettingsWire, TextEncoderWire, running,
)  # fmt: skip
from .host.media import from_images
from .host.saving import graph_tags, saved, video_of
from .modes import given_of

_SLOTS = 4
_SOURCES = ("built-in", "text below", "file")


class LTX2PromptLibrary(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2PromptLibrary", display_name="LTX-2 Prompt Library", category=f"{CATEGORY}/text",
            description="Named prompts for Validate, encoded once and kept on disk.",
            inputs=[
                CheckpointWire.Input("checkpoint", tooltip="The checkpoint whose text connectors finish the features."),
                TextEncoderWire.Input("text_encoder", tooltip="Gemma3; loaded only for prompts that are new."),
                io.Combo.Input("source", options=list(_SOURCES), default=_SOURCES[0], tooltip="built-in is a short set of motion, faces, hands, camera moves, speech and music; text below and file are your own, as JSON of names and prompts."),
                io.String.Input("prompts", multiline=True, default='{\n "first": "A red circle moves right over a dark background, with a low tone."\n}', tooltip="For text below: JSON of names and prompts. Names are shown in the grid and in file names."),
                io.String.Input("file", default="", tooltip="For file: a JSON file of names and prompts, a full path or one inside ComfyUI's input folder."),
                io.String.Input("only", default="", tooltip="Names to take, with commas between them; empty takes all."),
                io.String.Input("negative", multiline=True, default="", tooltip="The negative prompt of all; empty is the unconditional prompt."),
            ],
            outputs=[PromptsWire.Output("prompts", tooltip="For Validate.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, text_encoder, source: str, prompts: str, file: str, only: str, negative: str) -> io.NodeOutput:
        with running() as host:
            readers = {_SOURCES[0]: built_in, _SOURCES[1]: lambda: parse_library(prompts, "The text of prompts"), _SOURCES[2]: lambda: read_library(host.paths.input_folder(file))}
            library = readers[source]().only([name.strip() for name in only.split(",") if name.strip()])
            services = {"residency": host.residency, "reporter": host.reporter, "stop": host.stop}
            return io.NodeOutput(encode_library(library, negative, checkpoint.checkpoint, text_encoder, Store(host.paths.cache_dir()), **services))

    @classmethod
    def fingerprint_inputs(cls, source: str = "", file: str = "", **_) -> str:
        """A file that was edited is read again."""
        if source != "file" or not file.strip():
            return ""
        from .host.paths import HostPaths

        path = HostPaths().input_folder(file)
        return str(path.stat().st_mtime_ns) if path.is_file() else ""


class LTX2ValidationColumn(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        slots = []
        for i in range(1, _SLOTS + 1):
            slots.append(AdapterWire.Input(f"adapter_{i}", optional=True, tooltip="An adapter of this column."))
            slots.append(io.Float.Input(f"strength_{i}", default=1.0, min=-10.0, max=10.0, step=0.05, optional=True, tooltip=f"Strength of adapter {i}, times its own."))
        return io.Schema(
            node_id="LTX2ValidationColumn", display_name="LTX-2 Validation Column", category=f"{CATEGORY}/validate",
            description="Several adapters that act together, as one column of Validate. Chain several of these.",
            inputs=[
                ColumnsWire.Input("columns", optional=True, tooltip="Columns from another of these nodes, to which this one is added."),
                io.String.Input("label", default="together", tooltip="The column's name in the grid and in file names."),
                *slots,
            ],
            outputs=[ColumnsWire.Output("columns", tooltip="For Validate.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, label: str, columns=(), **slots) -> io.NodeOutput:
        with running():
            given = [(slots.get(f"adapter_{i}"), slots.get(f"strength_{i}", 1.0)) for i in range(1, _SLOTS + 1)]
            pairs = tuple((w.adapter, w.strength * s) for w, s in given if w is not None)
            if not pairs:
                raise LTX2Error(f"The column {label} has no adapter; wire at least one. The base is always shown and needs no column.")
            return io.NodeOutput((*columns, Column(label, pairs)))


class LTX2Validate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2Validate", display_name="LTX-2 Validate", category=f"{CATEGORY}/validate", is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            description="Every prompt with every adapter and seed, the base beside them, as one labelled video and as single files. A run that was stopped goes on at the first missing file.",
            inputs=[
                CheckpointWire.Input("checkpoint", tooltip="The base. Adapters that are applied to it act in every column."),
                SampleSettingsWire.Input("settings", tooltip="Size, length and guidance; its seeds are not used here."),
                PromptsWire.Input("prompts", optional=True, tooltip="From Prompt Library."),
                CacheWire.Input("cache", optional=True, tooltip="Validates on a cached dataset: its captions at its own sizes, with its pictures and sound as dataset_mode says, the original beside them."),
                *(AdapterWire.Input(f"adapter_{i}", optional=True, tooltip="An adapter, in a column of its own.") for i in range(1, _SLOTS + 1)),
                ColumnsWire.Input("columns", optional=True, tooltip="More columns, of several adapters each, from Validation Column."),
                io.Image.Input("image", optional=True, tooltip="First frame of every prompt's clip."),
                KeyframesWire.Input("keyframes", optional=True, tooltip="Pictures at chosen frames of every prompt's clip."),
                io.Audio.Input("audio", optional=True, tooltip="Sound for which every prompt's video is made."),
                io.Image.Input("reference", optional=True, tooltip="All frames of a reference video, shown to the columns with an IC-LoRA; the base makes its clip without it."),
                io.String.Input("name", default="validation", tooltip="Folder under output/ltx2_validation. Finished clips in it are not made again."),
                io.String.Input("seeds", default="0", tooltip="One seed, or several: 1, 2, 5-8. A row each."),
                io.String.Input("strengths", default="1", tooltip="Strengths at which every adapter is shown, times its own: 0.5, 0.8, 1."),
                io.Combo.Input("codec", options=list(CODECS), default=CODECS[0], tooltip="Of the single files: h264 is small and opens everywhere, prores is for editing programs and 20 times larger."),
                io.Combo.Input("dataset_mode", options=list(DATASET_MODES), default=DATASET_MODES[0], tooltip="What is taken of the cached clips: first frame, sound, both, or only the captions."),
                io.Int.Input("clips", default=4, min=1, max=1000, tooltip="How many clips of the dataset."),
                io.Boolean.Input("scores", default=False, tooltip="Measures loudness (LUFS) and motion of every clip, shown under it in the grid and written into cells.csv."),
                io.String.Input("similarity_model", default="", extra_dict=ADVANCED, tooltip="Folder of a CLIP or DINOv2 model on this machine: with scores on, also the likeness of every clip to the dataset's original, or to the reference video."),
                io.Combo.Input("sound_fit", options=list(SOUND_FITS), default="fit_sound", optional=True, extra_dict=ADVANCED, tooltip="For an audio that is not as long as the clips: fit_sound cuts it or adds silence, fit_video makes the clips as long as the sound, refuse stops with a message."),
                CacheWire.Input("references", optional=True, tooltip="Reference videos of the cached dataset (IC-LoRA), cached from a folder whose files have the clips' names: shown to the columns with an IC-LoRA."),
            ],
            outputs=[
                io.Video.Output("grid", tooltip="All clips in one labelled video."),
                io.String.Output("folder", tooltip="Where the files lie."),
                io.String.Output("table", tooltip="Path of cells.csv: a line a clip, with its recipe and scores."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, settings, name: str, seeds: str, strengths: str, codec: str, scores: bool, similarity_model: str = "", **wires) -> io.NodeOutput:
        with running() as host:
            plan = _plan(settings, seeds, strengths, codec, host.reporter, **wires)
            folder = host.paths.output_dir() / "ltx2_validation" / slug(name)
            model = load_picture_model(similarity_model, host.residency.device) if scores and similarity_model.strip() else None
            result = validate(
                checkpoint, plan, folder, residency=host.residency, reporter=host.reporter, stop=host.stop, tags=graph_tags(cls.hidden), picture_model=model, scores=scores,
            )  # fmt: skip
            return io.NodeOutput(video_of(result.grids[0]), str(folder), str(result.table), ui={"ltx2_grid": [saved(grid) for grid in result.grids]})

    @classmethod
    def fingerprint_inputs(cls, name: str = "", **_) -> int:
        """How many files are there: a clip that was deleted is made again, though the graph is the same."""
        from .host.paths import HostPaths

        return sum("__" in p.name for p in (HostPaths().output_dir() / "ltx2_validation" / slug(name)).glob("*.m*"))


def _strengths(text: str) -> list[float]:
    try:
        return [float(part) for part in text.replace(";", ",").split(",") if part.strip()] or [1.0]
    except ValueError as error:
        raise LTX2Error(f"strengths is {text!r}; write numbers with commas between them, for example 0.5, 0.8, 1.") from error


def _plan(settings, seeds: str, strengths: str, codec: str, reporter, *, prompts=None, cache=None, columns=(), dataset_mode=DATASET_MODES[0], clips: int = 4, reference=None, sound_fit: str = SOUND_FITS[0], references=None, **wires) -> Plan:
    adapters = [w for i in range(1, _SLOTS + 1) if (w := wires.pop(f"adapter_{i}", None)) is not None]
    if prompts is None and cache is None:
        raise LTX2Error("Validate has neither prompts nor a dataset; wire Prompt Library, or Cache Dataset.")
    settings, messages = settings.snapped()
    for text in messages:
        reporter.message(text, "warning")
    rows = () if prompts is None else library_rows(prompts, settings, given_of(sound_fit=sound_fit, **wires), None if reference is None else Reference(from_images(reference)))
    if cache is not None:
        rows += dataset_rows(cache, clips, dataset_mode, settings, references=references)
    negative = dataset_negative(cache) if prompts is None else prompts.negative
    made = columns_of([(w.adapter, w.strength) for w in adapters], _strengths(strengths))
    return Plan(rows, (*made, *(columns or ())), parse_seeds(seeds), negative, codec)


NODES = [LTX2PromptLibrary, LTX2ValidationColumn, LTX2Validate]
