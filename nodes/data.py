"""From a folder of clips to a cache that training reads."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.cache.build import build_cache
from ..ltx2core.data.scan import scan
from ..ltx2core.data.spec import BUCKET_STRATEGIES, CAPTION_STRATEGIES, CROPS, DATASET_TYPES, MASK_TYPES, WINDOWS, DatasetSpec
from ..ltx2core.models.vae_memory import Tiling, VaeMemory
from .base import ADVANCED, CATEGORY, CacheWire, CheckpointWire, DatasetOptionsWire, DatasetWire, TextEncoderWire, running
from .folders import folder_state

_AUTO = "auto"


class LTX2VideoDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2VideoDataset",
            display_name="LTX-2 Video Dataset",
            category=f"{CATEGORY}/data",
            description="Looks through a folder of clips with captions and says what will be trained, at what size, and what is left out and why.",
            inputs=[
                io.String.Input("folder", default="ltx2_clips", tooltip="The folder of clips: a full path, or a name inside ComfyUI's input folder. Captions lie beside the clips, clip.txt beside clip.mp4."),
                io.Int.Input("width", default=768, min=32, max=4096, step=32, tooltip="Pixels, a multiple of 32. Memory and time grow with width x height; 512 is a safe start on small cards."),
                io.Int.Input("height", default=512, min=32, max=4096, step=32, tooltip="Pixels, a multiple of 32. With buckets by aspect ratio only the area counts, and portrait clips stay portrait."),
                io.Int.Input("frames", default=49, min=1, max=1025, tooltip="Frames taken of each clip, 8k+1 (17, 49, 121). Other counts are cut down and said. Time grows a little faster than the frames do."),
                io.Float.Input("frame_rate", default=25.0, min=1.0, max=120.0, step=0.001, tooltip="Frames a second that training sees. Clips of other rates are really resampled, so motion keeps its speed. 25 is what LTX-2 expects."),
                io.Combo.Input("caption_strategy", options=list(CAPTION_STRATEGIES), default="textfile", tooltip="textfile reads clip.txt beside clip.mp4; filename makes a caption of the name; instanceprompt gives all clips the same caption."),
                io.String.Input("instance_prompt", default="", tooltip="The caption of every clip when caption_strategy is instanceprompt."),
                io.String.Input("trigger", default="", tooltip="A word put in front of every caption, by which the LoRA is called later. Leave empty for styles."),
                io.Int.Input("repeats", default=0, min=0, max=1000, extra_dict=ADVANCED, tooltip="Extra passes over this folder in each epoch; 0 is once. Matters only beside other datasets."),
                io.Boolean.Input("audio", default=True, tooltip="Train the sound of clips that have it. A clip without sound is trained as picture only, never as silence."),
                io.Combo.Input("bucket_strategy", options=list(BUCKET_STRATEGIES), default="aspect_ratio", extra_dict=ADVANCED, tooltip="aspect_ratio keeps each clip's proportions at the area of width x height; fixed crops every clip to width x height."),
                io.Int.Input("min_frames", default=9, min=1, max=1025, extra_dict=ADVANCED, tooltip="Clips with fewer frames at the training rate are left out, and named."),
                io.Boolean.Input("recursive", default=False, extra_dict=ADVANCED, tooltip="Also look into the folders inside."),
                io.Combo.Input("windows", options=list(WINDOWS), default="first", optional=True, tooltip="What is taken of a clip longer than frames: its beginning, its end, a random piece, or all pieces one after another, each with its own sound."),
                io.Combo.Input("crop", options=list(CROPS), default="center", optional=True, extra_dict=ADVANCED, tooltip="Which part is kept where a clip's proportions do not fit its bucket. random draws once for each clip, by the seed."),
                io.Boolean.Input("split_scenes", default=False, optional=True, extra_dict=ADVANCED, tooltip="Cut long footage where the picture changes suddenly, so that no sample runs across a cut. Costs one look through every clip; the cuts are remembered."),
                io.String.Input("sound_folder", default="", optional=True, extra_dict=ADVANCED, tooltip="A folder of sound files that replace the clips' own sound, matched by file name. Leave empty to use the clips' own."),
                io.Combo.Input("dataset_type", options=list(DATASET_TYPES), default="auto", optional=True, extra_dict=ADVANCED, tooltip="Which files are taken: auto takes videos and pictures; audio takes sound files and the sound of films, for training a voice by sound alone, where only frames / frame_rate counts."),
                DatasetOptionsWire.Input("options", optional=True, tooltip="From Dataset Options: filters, lengths of sounds, caption tables and shuffles, batches of its own."),
                io.String.Input("caption_folder", default="", optional=True, extra_dict=ADVANCED, tooltip="Where textfile finds the captions, when they do not lie beside the clips: a full path, or a folder in ComfyUI's output folder, as Write Captions makes it."),
                io.String.Input("mask_folder", default="", optional=True, extra_dict=ADVANCED, tooltip="A folder of pictures or films with the clips' names, which say by their brightness where a clip counts: white is trained, black is not. Leave empty to train clips whole."),
                io.Combo.Input("mask_type", options=list(MASK_TYPES), default="weight", optional=True, extra_dict=ADVANCED, tooltip="weight takes the mean brightness of each latent cell (32 pixels, 8 frames); binary makes it 1 from one half on and 0 below."),
            ],
            outputs=[
                DatasetWire.Output("dataset", tooltip="For Cache Dataset."),
                io.String.Output("report", tooltip="What was found and what was left out, as text."),
            ],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, folder: str = "", sound_folder: str = "", caption_folder: str = "", mask_folder: str = "", **kwargs):
        from .host.context import host

        paths = host().paths
        # A folder that comes by a wire is not known yet; the node before it says whether it changed.
        folders = [paths.input_folder(f) for f in (folder, sound_folder, mask_folder) if f and f.strip()]
        return [folder_state(f) for f in (*folders, *([paths.output_folder(caption_folder)] if caption_folder and caption_folder.strip() else []))]

    @classmethod
    def execute(cls, folder: str, options=None, caption_folder: str = "", **settings) -> io.NodeOutput:
        from .host.language import told
        from .host.thumbnails import dataset_view

        with running() as host:
            if caption_folder.strip():
                settings["caption_folder"] = str(host.paths.output_folder(caption_folder))
            for name in ("sound_folder", "mask_folder"):
                if given := settings.get(name, "").strip():
                    settings[name] = str(host.paths.input_folder(given))
            spec = DatasetSpec.from_dict({"folder": str(host.paths.input_folder(folder)), **settings, **(options or {})})
            index = scan(spec, host.reporter, host.paths.cache_dir() / "scan.sqlite3")
            lines = [f"{len(index.clips)} clips, {sum(c.has_audio for c in index.clips)} with sound, {len(index.dropped)} left out.", *index.messages]
            return io.NodeOutput(index, told("\n".join(lines)), ui={"ltx2_dataset": [dataset_view(index)]})


class LTX2CacheDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2CacheDataset",
            display_name="LTX-2 Cache Dataset",
            category=f"{CATEGORY}/data",
            description="Encodes captions and clips once and keeps them on disk. A second run reads; a changed clip is encoded again alone. The text encoder and the VAE are never on the device together.",
            inputs=[
                DatasetWire.Input("dataset", tooltip="From Video Dataset."),
                CheckpointWire.Input("checkpoint", tooltip="The checkpoint whose VAEs and connectors encode the clips."),
                TextEncoderWire.Input("text_encoder", tooltip="Gemma3, for the captions."),
                io.String.Input("cache_folder", default="", tooltip="Where the cache lies, inside ComfyUI's output or model folders; empty is the usual place in output. About 15 MiB a caption and a few MiB a clip. May be shared between runs and machines."),
                io.Combo.Input("vae", options=[_AUTO, "manual"], default=_AUTO, optional=True, extra_dict=ADVANCED, tooltip="How the video VAE saves memory. auto streams each clip in time on a card, a fifth of the memory with the same numbers; manual takes the values below."),
                io.Int.Input("vae_batch_size", default=1, min=1, max=64, optional=True, extra_dict=ADVANCED, tooltip="Clips of one size that are encoded at once. Memory grows with it; only short, small clips become faster."),
                io.Boolean.Input("vae_slicing", default=False, optional=True, extra_dict=ADVANCED, tooltip="One clip at a time, whatever vae_batch_size says."),
                io.Boolean.Input("vae_patch_conv", default=False, optional=True, extra_dict=ADVANCED, tooltip="Convolutions run in pieces of time: about two thirds of the memory on long clips, the same numbers to rounding."),
                io.Boolean.Input("vae_temporal_roll", default=False, optional=True, extra_dict=ADVANCED, tooltip="The clip streams through a few frames at a time, so that memory does not grow with its length. The same numbers to rounding."),
                io.Int.Input("vae_tile", default=0, min=0, max=4096, step=32, optional=True, extra_dict=ADVANCED, tooltip="Pictures larger than this many pixels are cut into tiles; 0 is off. The numbers differ near a tile's edge, so use it only where nothing else fits."),
                io.Int.Input("vae_tile_overlap", default=64, min=0, max=2048, step=32, optional=True, extra_dict=ADVANCED, tooltip="How much neighbouring tiles share, in pixels. More is nearer to the plain encode, and slower."),
            ],
            outputs=[CacheWire.Output("cache", tooltip="For Train LoRA.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, dataset, checkpoint, text_encoder, cache_folder: str = "", vae: str = _AUTO, vae_batch_size: int = 1, vae_slicing: bool = False,
        vae_patch_conv: bool = False, vae_temporal_roll: bool = False, vae_tile: int = 0, vae_tile_overlap: int = 64,
    ) -> io.NodeOutput:  # fmt: skip
        tiling = Tiling(vae_tile, vae_tile_overlap) if vae_tile else None
        memory = None if vae == _AUTO else VaeMemory(vae_batch_size, vae_slicing, vae_patch_conv, vae_temporal_roll, tiling)
        with running() as host:
            folder = host.paths.writable(cache_folder) if cache_folder.strip() else host.paths.cache_dir()
            cache = build_cache(dataset, checkpoint.checkpoint, text_encoder, folder, residency=host.residency, reporter=host.reporter, stop=host.stop, vae=memory)
            return io.NodeOutput(cache)


NODES = [LTX2VideoDataset, LTX2CacheDataset]
