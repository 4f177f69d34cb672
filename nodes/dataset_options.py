"""What else can be asked of a dataset, and several datasets in one run."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.cache.joined import joined
from ..ltx2core.data.spec import CAPTION_LINES
from ..ltx2core.errors import LTX2Error
from .base import ADVANCED, CATEGORY, CacheWire, DatasetOptionsWire

_SEED = 2**32 - 1


class LTX2DatasetOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2DatasetOptions",
            display_name="LTX-2 Dataset Options",
            category=f"{CATEGORY}/data",
            description="Further settings of Video Dataset: lengths of sounds, filters, buckets, caption tables and shuffles, batches of its own. What is left as it is changes nothing.",
            inputs=[
                io.Int.Input("batch_size", default=0, min=0, max=64, tooltip="Clips a pass of this dataset, for example 4 for pictures beside films; 0 is the run's batch_size."),
                io.Int.Input("max_samples", default=0, min=0, max=1_000_000, tooltip="At most so many samples, drawn by the seed; 0 takes all."),
                io.Int.Input("seed", default=0, min=0, max=_SEED, control_after_generate=False, tooltip="Of random windows, random crops, shuffles and max_samples. The same seed draws the same on every machine."),
                io.Int.Input("windows_per_clip", default=1, min=1, max=1000, tooltip="How many random pieces are taken of each clip when windows is random."),
                io.Int.Input("max_frames", default=0, min=0, max=1_000_000, extra_dict=ADVANCED, tooltip="Clips with more frames at the training rate are left out, and named; 0 is no limit."),
                io.Int.Input("frame_interval", default=0, min=0, max=1024, extra_dict=ADVANCED, tooltip="With bucket_strategy resolution_frames, clip lengths are counted in steps of so many frames, so that many lengths meet in few buckets; 0 is off."),
                io.Float.Input("min_aspect_ratio", default=0.0, min=0.0, max=100.0, step=0.01, extra_dict=ADVANCED, tooltip="Clips narrower than this width / height are left out; 0 is no limit."),
                io.Float.Input("max_aspect_ratio", default=0.0, min=0.0, max=100.0, step=0.01, extra_dict=ADVANCED, tooltip="Clips wider than this width / height are left out; 0 is no limit."),
                io.Int.Input("min_side", default=0, min=0, max=16384, extra_dict=ADVANCED, tooltip="Clips whose shorter side has fewer pixels are left out; 0 is no limit."),
                io.Boolean.Input("allow_zero_audio", default=False, tooltip="Train clips without sound as silence. Off, their sound is left out of the loss, which is right unless silence is what shall be learned."),
                io.Float.Input("scene_threshold", default=0.1, min=0.0, max=1.0, step=0.01, extra_dict=ADVANCED, tooltip="With split_scenes: how much the picture must change to be a cut, 0 to 1. Lower finds more cuts."),
                io.Float.Input("window_seconds", default=0.0, min=0.0, max=3600.0, step=0.1, tooltip="Of dataset_type audio: the length of a piece. 0 takes each sound whole."),
                io.Float.Input("duration_interval", default=3.0, min=0.1, max=600.0, step=0.1, tooltip="Of dataset_type audio: lengths are cut down to multiples of these seconds, so that many meet in few buckets. Where it is cut is set by windows: first keeps the beginning, last the end."),
                io.Float.Input("min_seconds", default=0.0, min=0.0, max=36000.0, step=0.1, extra_dict=ADVANCED, tooltip="Of dataset_type audio: shorter sounds are left out; 0 is no limit."),
                io.Float.Input("max_seconds", default=0.0, min=0.0, max=36000.0, step=0.1, extra_dict=ADVANCED, tooltip="Of dataset_type audio: longer sounds are left out; 0 is no limit."),
                io.Combo.Input("caption_lines", options=list(CAPTION_LINES), default="whole", tooltip="whole takes a caption file as one caption; each makes a sample of every line."),
                io.String.Input("caption_table", default="", extra_dict=ADVANCED, tooltip="For csv, jsonl and parquet: the table's file in the clips' folder. Empty takes the only one of its kind there."),
                io.String.Input("table_file_column", default="", extra_dict=ADVANCED, tooltip="The column of file names. Empty looks for the usual names, such as file_name."),
                io.String.Input("table_caption_column", default="", extra_dict=ADVANCED, tooltip="The column of captions. Empty looks for the usual names, such as caption or text."),
                io.String.Input("table_fallback_column", default="", extra_dict=ADVANCED, tooltip="The column that is taken where the caption is empty."),
                io.Int.Input("shuffles", default=0, min=0, max=100, extra_dict=ADVANCED, tooltip="Further captions of each clip with their parts in other orders, for captions of tags; 0 is none."),
                io.String.Input("shuffle_split_on", default=",", extra_dict=ADVANCED, tooltip="What stands between the parts of a caption."),
                io.Int.Input("shuffle_keep_first", default=0, min=0, max=100, extra_dict=ADVANCED, tooltip="So many parts stay in front."),
                io.Boolean.Input("shuffle_include_original", default=True, extra_dict=ADVANCED, tooltip="Keep the caption as it is written too."),
                io.String.Input("id", default="", extra_dict=ADVANCED, tooltip="The dataset's name in messages; empty is its folder's."),
            ],
            outputs=[DatasetOptionsWire.Output("options", tooltip="For Video Dataset.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, shuffles: int = 0, shuffle_split_on: str = ",", shuffle_keep_first: int = 0, shuffle_include_original: bool = True, **values
    ) -> io.NodeOutput:
        shuffle = {"count": shuffles, "split_on": shuffle_split_on, "keep_first": shuffle_keep_first, "include_original": shuffle_include_original}
        return io.NodeOutput(values | ({"caption_shuffle": shuffle} if shuffles else {}))


class LTX2MixDatasets(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        names = "1", "2", "3", "4"
        return io.Schema(
            node_id="LTX2MixDatasets",
            display_name="LTX-2 Mix Datasets",
            category=f"{CATEGORY}/data",
            description="Several cached datasets in one run, for example films and stills. They come by their sizes and repeats, or by the shares given here. A mixture can be mixed again.",
            inputs=[
                *(
                    CacheWire.Input(f"cache_{n}", optional=n > "2", tooltip="From Cache Dataset, or another Mix Datasets. All must lie in one cache folder.")
                    for n in names
                ),
                *(
                    io.Float.Input(f"share_{n}", default=0.0, min=0.0, max=1000.0, step=0.05, optional=n > "2", tooltip=f"How often samples come from cache_{n}, relative to the other shares. Give all of them one, or leave all 0: then they come by size and repeats.")
                    for n in names
                ),
            ],
            outputs=[
                CacheWire.Output("cache", tooltip="For Train LoRA."),
                io.String.Output("report", tooltip="How much of an epoch each dataset gives, as text."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, **values) -> io.NodeOutput:
        wired = {n: values.get(f"cache_{n}") for n in ("1", "2", "3", "4")}
        caches = {n: cache for n, cache in wired.items() if cache is not None}
        shares = {n: values.get(f"share_{n}", 0.0) for n in caches}
        if any(shares.values()) and not all(shares.values()):
            raise LTX2Error(f"share_{next(n for n, share in shares.items() if not share)} is 0 and others are not; give every wired dataset a share, or none.")
        whole = joined(list(caches.values()), list(shares.values()) if any(shares.values()) else None)
        report = whole.parts([len(cache) for cache in caches.values()])
        return io.NodeOutput(whole, "\n".join(f"cache_{n}: {len(cache)} clips, {part:.0%} of the samples" for (n, cache), part in zip(caches.items(), report, strict=True)))


NODES = [LTX2DatasetOptions, LTX2MixDatasets]
