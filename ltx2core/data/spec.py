"""What a person asks of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import LTX2Error
from ..strict import from_dict

CAPTION_STRATEGIES = ("textfile", "filename", "instanceprompt", "csv", "jsonl", "parquet")
BUCKET_STRATEGIES = ("fixed", "aspect_ratio", "resolution_frames")
DATASET_TYPES = ("auto", "video", "image", "audio")
WINDOWS = ("first", "last", "random", "all")
CROPS = ("center", "corner", "random")
CAPTION_LINES = ("whole", "each")
MASK_TYPES = ("weight", "binary")

# Options that are folders.
PATHS = ("folder", "sound_folder", "caption_folder", "mask_folder")
_CHOICES = {
    "caption_strategy": CAPTION_STRATEGIES, "bucket_strategy": BUCKET_STRATEGIES, "dataset_type": DATASET_TYPES,
    "windows": WINDOWS, "crop": CROPS, "caption_lines": CAPTION_LINES, "mask_type": MASK_TYPES,
}  # fmt: skip
_AT_LEAST = {
    "frames": 1, "min_frames": 1, "repeats": 0, "windows_per_clip": 1, "max_frames": 0, "frame_interval": 0, "window_seconds": 0,
    "min_seconds": 0, "max_seconds": 0, "min_aspect_ratio": 0, "max_aspect_ratio": 0, "min_side": 0, "probability": 0, "batch_size": 0,
    "max_samples": 0,
}  # fmt: skip


@dataclass(frozen=True)
class CaptionShuffle:
    """Further captions made by putting the parts of a caption in other orders.

    Attributes:
        count: orders drawn by the dataset's seed, each a sample of its own.
        split_on: what stands between the parts.
        keep_first: parts that stay in front.
        include_original: whether the caption as written stays too.
    """

    count: int = 1
    split_on: str = ","
    keep_first: int = 0
    include_original: bool = True

    def __post_init__(self) -> None:
        if self.count < 1 or not self.split_on or self.keep_first < 0:
            raise LTX2Error("caption_shuffle needs count of at least 1, a split_on that is not empty, and keep_first of at least 0.")


@dataclass(frozen=True)
class DatasetSpec:
    """One folder of clips, pictures or sounds.

    Attributes:
        folder: where the clips lie.
        width, height: pixels. With ``bucket_strategy`` ``fixed`` every clip is cropped to them; otherwise their area is
            kept and each clip gets the sides that fit its own proportions.
        frames: of each clip, snapped down to 8k+1; a shorter clip is taken with as many frames as it has.
        min_frames: a clip with fewer frames at the training rate is dropped.
        frame_rate: frames a second that training sees; clips of other rates are resampled in time.
        bucket_strategy: ``fixed``, ``aspect_ratio``, or ``resolution_frames``, which counts a clip's frames in steps of
            ``frame_interval``, so that clips of many lengths meet in few buckets.
        caption_strategy: ``textfile`` (clip.txt beside clip.mp4), ``filename``, ``instanceprompt``, or a table: ``csv``,
            ``jsonl``, ``parquet``.
        instance_prompt: the caption of ``instanceprompt``.
        trigger: put in front of every caption.
        repeats: extra passes over the folder in an epoch; 0 is once.
        audio: whether sound is trained where a clip has it.
        recursive: whether folders inside are searched.
        id: the dataset's name in messages and among several; the folder's name when empty.
        dataset_type: ``auto`` takes videos and pictures; ``audio`` takes sounds, and trains sound alone.
        windows: which part of a longer clip: the ``first`` or ``last`` frames, ``windows_per_clip`` parts drawn by the
            seed, or ``all`` parts one after another.
        max_frames: clips with more frames at the training rate are dropped; 0 is no limit.
        window_seconds: of an audio dataset's windows; 0 takes each sound whole.
        duration_interval: an audio dataset's lengths are cut down to multiples of these seconds.
        min_seconds, max_seconds: an audio dataset's shorter and longer sounds are dropped; 0 is no limit.
        crop: which part is kept where proportions differ: ``center``, ``corner`` (left top), ``random`` by the seed.
        min_aspect_ratio, max_aspect_ratio: of width / height; others are dropped; 0 is no limit.
        min_side: clips whose shorter side has fewer pixels are dropped; 0 is no limit.
        allow_zero_audio: train a clip without sound as silence instead of as picture only.
        sound_folder: take each clip's sound from the file of the same stem there instead of its own.
        split_scenes: no window crosses a cut of the film.
        scene_threshold: mean difference of grey, 0..1, from which a change of the picture is a cut.
        caption_lines: ``whole`` takes a caption file as one caption; ``each`` makes a sample of every line.
        caption_folder: where ``textfile`` finds the captions, in folders as in ``folder``; empty is beside the clips.
        caption_table: the table's file, in the folder; by default the only one of its kind there.
        table_file_column, table_caption_column, table_fallback_column: by default the usual names are looked for.
        caption_shuffle: further captions in other orders.
        seed: of everything drawn here.
        probability: how often samples come from this dataset beside others, relative to theirs; 0 with all is by size and repeats.
        batch_size: of this dataset's batches; 0 is the run's.
        max_samples: at most so many samples, drawn by the seed; 0 is all.
        disabled: leave this dataset out.
        mask_folder: a picture or a film of the same stem there says by its brightness how much each place of a clip
            counts in the loss: white all, black nothing.
        mask_type: ``weight`` takes the mean brightness of each latent cell, ``binary`` 1 from one half on, else 0.
    """

    folder: str
    width: int = 768
    height: int = 512
    frames: int = 49
    min_frames: int = 9
    frame_rate: float = 25.0
    bucket_strategy: str = "aspect_ratio"
    caption_strategy: str = "textfile"
    instance_prompt: str = ""
    trigger: str = ""
    repeats: int = 0
    audio: bool = True
    recursive: bool = False
    id: str = ""
    dataset_type: str = "auto"
    windows: str = "first"
    windows_per_clip: int = 1
    max_frames: int = 0
    frame_interval: int = 0
    window_seconds: float = 0.0
    duration_interval: float = 3.0
    min_seconds: float = 0.0
    max_seconds: float = 0.0
    crop: str = "center"
    min_aspect_ratio: float = 0.0
    max_aspect_ratio: float = 0.0
    min_side: int = 0
    allow_zero_audio: bool = False
    sound_folder: str = ""
    split_scenes: bool = False
    scene_threshold: float = 0.1
    caption_lines: str = "whole"
    caption_table: str = ""
    table_file_column: str = ""
    table_caption_column: str = ""
    table_fallback_column: str = ""
    caption_shuffle: CaptionShuffle | None = None
    seed: int = 0
    probability: float = 0.0
    batch_size: int = 0
    max_samples: int = 0
    disabled: bool = False
    caption_folder: str = ""
    mask_folder: str = ""
    mask_type: str = "weight"

    def __post_init__(self) -> None:
        for key, known in _CHOICES.items():
            if getattr(self, key) not in known:
                raise LTX2Error(f"{key} is {getattr(self, key)!r}; choose one of {', '.join(known)}.")
        for key, least in _AT_LEAST.items():
            if not getattr(self, key) >= least:
                raise LTX2Error(f"{key} is {getattr(self, key):g}; give {least} or more.")
        if not 0 < self.frame_rate < 1000:
            raise LTX2Error(f"frame_rate is {self.frame_rate:g}; give frames a second above 0, 25 is what LTX-2 expects.")
        if not self.duration_interval > 0:
            raise LTX2Error(f"duration_interval is {self.duration_interval:g}; give seconds above 0.")
        self._check_together()

    def _check_together(self) -> None:
        if self.caption_strategy == "instanceprompt" and not self.instance_prompt.strip():
            raise LTX2Error("caption_strategy instanceprompt needs an instance_prompt; write the caption for all clips there.")
        if self.frame_interval and self.bucket_strategy == "aspect_ratio":
            raise LTX2Error("frame_interval works with bucket_strategy resolution_frames or fixed; choose one of them, or leave frame_interval 0.")
        if self.max_frames and self.max_frames < self.min_frames:
            raise LTX2Error(f"max_frames {self.max_frames} is below min_frames {self.min_frames}; no clip could be used.")
        if self.max_aspect_ratio and self.max_aspect_ratio < self.min_aspect_ratio:
            raise LTX2Error(f"max_aspect_ratio {self.max_aspect_ratio:g} is below min_aspect_ratio; no clip could be used.")
        if self.max_seconds and self.max_seconds < self.min_seconds:
            raise LTX2Error(f"max_seconds {self.max_seconds:g} is below min_seconds {self.min_seconds:g}; no sound could be used.")
        if self.dataset_type == "audio" and not self.audio:
            raise LTX2Error("An audio dataset with audio off has nothing to train; switch audio on.")
        if self.sound_folder and self.dataset_type in ("audio", "image"):
            raise LTX2Error(f"sound_folder gives sound to videos; leave it empty for dataset_type {self.dataset_type}.")
        if self.mask_folder and self.dataset_type == "audio":
            raise LTX2Error("mask_folder weighs places of the picture; leave it empty for dataset_type audio.")

    @property
    def name(self) -> str:
        return self.id or Path(self.folder).name or self.folder

    @classmethod
    def from_dict(cls, raw: Mapping[str, object]) -> DatasetSpec:
        """Raises LTX2Error for unknown or wrong keys."""
        return from_dict(cls, raw, "dataset")

    def to_dict(self) -> dict:
        return asdict(self)
