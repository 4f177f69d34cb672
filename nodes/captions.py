"""Captions from any captioner of the host: pictures of the clips out, sentences in, caption files on disk."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io

from ..ltx2core.data.captions import write_textfile
from ..ltx2core.data.read import read_some
from ..ltx2core.errors import LTX2Error
from .base import CATEGORY, DatasetWire, running

_KEEP, _ANEW = "keep", "write anew"


class LTX2DatasetFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2DatasetFrames",
            display_name="LTX-2 Dataset Frames",
            category=f"{CATEGORY}/data",
            description="Gives pictures of every clip, one after another, to a captioner, and the clips' names for Write Captions.",
            inputs=[
                DatasetWire.Input("dataset", tooltip="From Video Dataset. While captions are still missing, set its caption_strategy to filename."),
                io.Int.Input("frames", default=4, min=1, max=64, tooltip="Pictures of each clip, spread evenly over it. A captioner for single pictures needs 1; more show motion."),
                io.Int.Input("first", default=0, min=0, max=1_000_000, tooltip="The first clip, counted from 0: with clips, a large folder is done in parts."),
                io.Int.Input("clips", default=100, min=1, max=1_000_000, tooltip="At most so many clips at once. All their pictures are in memory together."),
            ],
            outputs=[
                io.Image.Output("images", is_output_list=True, tooltip="A list: the pictures of each clip, at the size they are trained at. For any captioner."),
                io.String.Output("names", is_output_list=True, tooltip="A list: each clip's name inside the folder, for Write Captions."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, dataset, frames: int, first: int = 0, clips: int = 100) -> io.NodeOutput:
        from .host.media import pictures

        with running():
            folder = Path(dataset.spec.folder).expanduser()
            every = list({clip.path: clip for clip in reversed(dataset.clips)}.values())[::-1]
            chosen = every[first : first + clips]
            if not chosen:
                raise LTX2Error(f"The dataset has {len(every)} clips and first is {first}; lower first.")
            images = [pictures(read_some(clip, frames)) for clip in chosen]
            return io.NodeOutput(images, [Path(clip.path).relative_to(folder).as_posix() for clip in chosen])


class LTX2WriteCaptions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2WriteCaptions",
            display_name="LTX-2 Write Captions",
            category=f"{CATEGORY}/data",
            description="Takes the sentences of any captioner and writes a caption file for each clip, which Video Dataset then reads.",
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.String.Input("captions", force_input=True, tooltip="One caption a clip, from any captioner."),
                io.String.Input("names", force_input=True, tooltip="The clips' names, from Dataset Frames."),
                io.String.Input("folder", default="ltx2_captions", tooltip="Where the files are written, inside ComfyUI's output or model folders: a graph may write nowhere else. Give the same to Video Dataset as caption_folder."),
                io.Combo.Input("existing", options=[_KEEP, _ANEW], default=_KEEP, tooltip="keep leaves caption files that are there, which you may have corrected; write anew replaces them."),
            ],
            outputs=[
                io.String.Output("caption_folder", tooltip="The folder, for caption_folder of Video Dataset."),
                io.String.Output("report", tooltip="How many files were written."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, captions: list[str], names: list[str], folder: list[str], existing: list[str]) -> io.NodeOutput:
        from .host.language import told

        with running() as host:
            if len(captions) != len(names):
                raise LTX2Error(f"There are {len(captions)} captions for {len(names)} clips; the captioner must give one for each clip.")
            target = host.paths.writable(folder[0])
            before = {p: p.stat().st_mtime_ns for p in target.rglob("*.txt")}
            paths = [write_textfile(target, name, caption, existing[0] == _ANEW) for name, caption in zip(names, captions, strict=True)]
            written = sum(before.get(p) != p.stat().st_mtime_ns for p in paths)
            report = f"{written} captions written into {target}, {len(paths) - written} were there."
            return io.NodeOutput(str(target), told(report), ui={"text": [told(report)]})


NODES = [LTX2DatasetFrames, LTX2WriteCaptions]
