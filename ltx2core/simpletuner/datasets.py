"""The datasets of a ``multidatabackend.json`` as this pack's, each with the role that it plays in the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data.spec import CROPS, DatasetSpec
from ..errors import LTX2Error
from ..geometry import snap_frames
from .dataset_captions import read_captions
from .dataset_keys import (
    AUDIO_KEYS, AUDIO_ROWS, DATASET_KEYS, DATASET_NEUTRAL, DATASET_REASONS, DATASET_ROWS, STORES, TABLE_KEYS, TABLE_ROWS, VIDEO_KEYS, VIDEO_ROWS,
)  # fmt: skip
from .defaults import Defaults
from .options import Options, as_data
from .report import Entry

_TYPES = {"image": "image", "video": "video", "audio": "audio", "conditioning": "auto", "eval": "auto"}
_WINDOWS = {"beginning": "first", "end": "last", "random": "random"}
_MASKS = {"mask": "weight", "segmentation": "binary"}
_SECONDS = 5  # of a video dataset without num_frames


@dataclass(frozen=True)
class Imported:
    """spec: of this pack. role: train, validation, reference, regularisation, sound or mask (of another dataset), none, or off:
    switched off, so that others cannot take anything from it either.

    reference: the datasets that it is paired with; source: the dataset that it says to belong to. mask_type: of role mask.
    """

    name: str
    role: str
    spec: dict
    entries: tuple[Entry, ...]
    sound_from: tuple[str, ...] = ()
    reference: tuple[str, ...] = ()
    offset: float = 0.0
    audio_only: bool = False
    source: str = ""
    mask_type: str = ""


class _Block:
    """A nested object's keys as those of the dataset, ``video.num_frames``."""

    def __init__(self, options: Options, name: str):
        raw = options.read(name, as_data) or {}
        if not isinstance(raw, Mapping):
            raise LTX2Error(f"{options.source}: {name} must be an object.")
        self.options, self.name = Options(raw, f"{options.source}.{name}"), name

    def rows(self, table: Mapping[str, tuple], spec: dict) -> None:
        for key, (name, kind) in table.items():
            value = self.options.read(key, kind)
            if value is not None:
                spec[name] = value
                self.options.honoured(key, f"dataset.{name}")
            self.options.idle(key, "it is empty")


def _sides(options: Options, defaults: Defaults) -> int:
    """The side of a square of the wanted area, a multiple of 32."""
    size, kind = options.number("resolution", defaults.resolution), options.text("resolution_type", defaults.resolution_type)
    if kind not in ("area", "pixel_area", "pixel"):
        raise LTX2Error(f"{options.source}: resolution_type is {kind!r}; choose area, pixel_area or pixel.")
    side = math.sqrt(size * 1e6) if kind == "area" else size
    snapped = max(32, int(side + 1e-6) // 32 * 32)
    options.mapped("resolution", "dataset.width", f"{snapped}x{snapped} pixels of area; each clip gets the sides that fit its proportions")
    note = "the area counts, so that memory is the same for every proportion" if kind == "pixel" else "an area"
    options.mapped("resolution_type", "dataset.width", note, loss=kind == "pixel" and not _square(options))
    return snapped


def _square(options: Options) -> bool:
    return options.flag("crop") and options.text("crop_aspect", "square") == "square"


def _picture(options: Options, defaults: Defaults, spec: dict) -> None:
    spec["width"] = spec["height"] = _sides(options, defaults)
    spec["bucket_strategy"] = "fixed" if _square(options) else "aspect_ratio"
    style = options.text("crop_style", "random" if options.flag("crop") else "center")
    spec["crop"] = style if style in CROPS else "center"
    options.mapped("crop", "dataset.bucket_strategy", "cut to a square" if _square(options) else "only what does not fit the bucket of the clip's proportions is cut off")
    options.mapped("crop_aspect", "dataset.bucket_strategy", "square cuts every clip; otherwise each keeps its proportions")
    if style in CROPS:
        options.honoured("crop_style", "dataset.crop")
    options.mapped("crop_style", "dataset.crop", "faces are not looked for; the middle is taken", loss=True)
    least = options.number("minimum_image_size", defaults.min_side)
    kind = options.text("resolution_type", defaults.resolution_type)
    spec["min_side"] = round(math.sqrt(least * 1e6)) if kind == "area" else round(least)
    options.mapped("minimum_image_size", "dataset.min_side", "pixels of the shorter side")


def _video(options: Options, defaults: Defaults, spec: dict) -> tuple[Entry, ...]:
    block, square = _Block(options, "video"), spec["bucket_strategy"] == "fixed"
    if block.options.text("bucket_strategy", "aspect_ratio") != "resolution_frames":
        block.options.idle("frame_interval", "it works with bucket_strategy resolution_frames alone, in SimpleTuner too")
    block.rows({k: row for k, row in VIDEO_ROWS.items() if not block.options.noted(k)}, spec)
    if square:
        # A square crop holds for every way of counting frames.
        spec["bucket_strategy"] = "fixed"
    spec.setdefault("frame_rate", defaults.frame_rate)
    frames = spec.setdefault("frames", round(_SECONDS * spec["frame_rate"]))
    # SimpleTuner snaps both counts; a clip of just num_frames must not be dropped.
    spec["min_frames"] = snap_frames(spec.get("min_frames", frames)).value
    block.options.idle("is_i2v", "first_frame_probability of the training settings is what trains image to video")
    options.mapped("video", "dataset", "see video.*")
    return block.options.finish((*VIDEO_ROWS, *VIDEO_KEYS))


def _audio(options: Options, spec: dict, alone: bool) -> tuple[tuple[Entry, ...], bool]:
    block, found = _Block(options, "audio"), {}
    inner, only = block.options, block.options.flag("audio_only") or alone
    if not only:
        for key in ("duration_interval", "min_duration_seconds", "max_duration_seconds"):
            inner.idle(key, "a clip's sound is as long as its picture")
    block.rows(AUDIO_ROWS, found)
    if only:
        spec |= {**found, "audio": True, "dataset_type": "audio"}
        # Frames belong to pictures; how short a sound may be is min_duration_seconds.
        spec.pop("min_frames", None)
        spec["windows"] = _WINDOWS.get(inner.text("truncation_mode", "beginning"), "first")
        inner.honoured("truncation_mode", "dataset.windows")
    else:
        spec |= {k: v for k, v in found.items() if k in ("audio", "allow_zero_audio")}
    inner.idle("truncation_mode", "a clip's sound is cut where its picture is, so that both stay in step")
    inner.mapped("audio_only", "train.audio_only", "the picture is not computed")
    inner.mapped("sample_rate", "", "sound of any rate is brought to what the audio VAE takes")
    inner.mapped("channels", "", "always two: mono is given to both")
    inner.idle("bucket_strategy", "sounds are always sorted by duration")
    for key in ("target_resolution", "source_from_video"):
        inner.idle(key, "sound belongs to its clip")
    options.mapped("audio", "dataset", "see audio.*")
    return inner.finish((*AUDIO_ROWS, *AUDIO_KEYS)), only


def _role(options: Options, kind: str, defaults: Defaults) -> str:
    if options.flag("disabled") or options.flag("disable"):
        return "off"
    if kind == "eval" or options.text("id") == defaults.held_out != "":
        return "validation"
    if kind in ("video", "image", "audio") and options.number("probability") == 0:
        return "none"
    if kind == "conditioning":
        shape = options.text("conditioning_type", "reference_strict")
        if shape not in ("reference_strict", "reference_loose", *_MASKS):
            raise LTX2Error(f"{options.source}: conditioning_type {shape!r} is not in this pack; reference_strict and reference_loose are (IC-LoRA), and mask and segmentation.")
        return "mask" if shape in _MASKS else "reference"
    return "regularisation" if options.flag("is_regularisation_data") else "train"


def _names(options: Options, key: str) -> tuple[str, ...]:
    raw = options.read(key, as_data) if not isinstance(options.read(key, lambda v: v), str) else options.text(key)
    return (raw,) if isinstance(raw, str) else tuple(raw or ())


def _store(options: Options, kind: str) -> Imported:
    for key in ("id", "type", "dataset_type", "default", "cache_dir", "disabled", "disable", "instance_data_dir"):
        options.idle(key, f"{kind} is a store of features; here they lie in the cache, found by content")
    _idle(options)
    return Imported(options.text("id", kind), "none", {}, options.finish((*DATASET_KEYS, *DATASET_ROWS, *DATASET_REASONS)))


def _idle(options: Options) -> None:
    for key, reason in DATASET_REASONS.items():
        value = options.read(key, lambda v: v)
        options.idle(key, reason, loss=key in DATASET_NEUTRAL and value is not None and value not in DATASET_NEUTRAL[key])


def _folder(options: Options, defaults: Defaults) -> str:
    place = options.text("type", "local")
    if place not in ("local", "csv", "parquet"):
        raise LTX2Error(f"{options.source} has type {place!r}; this pack trains from folders of this machine, download the clips and set it to local.")
    folder = options.text("instance_data_dir")
    if not folder:
        raise LTX2Error(f"{options.source} has no instance_data_dir; name its folder.")
    options.honoured("type", "dataset.folder")
    options.honoured("instance_data_dir", "dataset.folder")
    path = Path(folder).expanduser()
    return str(path if path.is_absolute() else defaults.folder / path)


def _with_blocks(raw: Mapping[str, object], defaults: Defaults) -> dict[str, object]:
    """An audio dataset's and a table's blocks, with what the configuration says for all of them."""
    result = dict(raw)
    for name, given, wanted in (("audio", defaults.audio, raw.get("dataset_type") == "audio"), ("parquet", defaults.parquet, raw.get("caption_strategy") == "parquet")):
        if given and wanted:
            own = raw.get(name) or {}
            result[name] = {**given, **own} if isinstance(own, Mapping) else own
    return result


def read_dataset(raw: Mapping[str, object], position: int, defaults: Defaults) -> Imported:
    """One dataset.

    Raises:
        LTX2Error: an unknown key, a bad value, or something this pack can't do.
    """
    options = Options(_with_blocks(raw, defaults), f"dataset {raw.get('id') or position}")
    kind = options.text("dataset_type", "image")
    if kind in STORES:
        return _store(options, kind)
    if kind not in _TYPES:
        raise LTX2Error(f"{options.source} has dataset_type {kind!r}; choose one of {', '.join((*_TYPES, *STORES))}.")
    spec: dict = {"folder": _folder(options, defaults), "recursive": True, "seed": defaults.seed, "dataset_type": _TYPES[kind]}
    for key, (name, convert) in DATASET_ROWS.items():
        value = options.read(key, convert)
        if value is not None:
            spec[name] = value
            options.honoured(key, f"dataset.{name}")
        options.idle(key, "it is empty")
    if options.read("probability", lambda v: v) is not None:
        spec["probability"] = options.number("probability")
    if options.number("probability") == 0:
        options.mapped("probability", "", "a dataset that is never drawn is left out")
    options.honoured("probability", "dataset.probability")
    options.honoured("dataset_type", "dataset.dataset_type")
    read_captions(options, defaults, spec)
    _picture(options, defaults, spec)
    more = _video(options, defaults, spec) if kind != "image" else ()
    options.idle("video", "a picture is one frame")
    sound, only = _audio(options, spec, kind == "audio")
    table = _Block(options, "parquet")
    table.rows(TABLE_ROWS, spec)
    for key in TABLE_KEYS:
        table.options.idle(key, "sizes are read from the files, and a name is found with or without its ending")
    options.mapped("parquet", "dataset", "see parquet.*")
    return _finished(options, spec, kind, defaults, (*more, *sound, *table.options.finish((*TABLE_ROWS, *TABLE_KEYS))), only)


def _finished(options: Options, spec: dict, kind: str, defaults: Defaults, nested: tuple[Entry, ...], only: bool) -> Imported:
    role = _role(options, kind, defaults)
    for key in ("disabled", "disable"):
        options.mapped(key, "", "a dataset that is switched off is left out, also as the sound or the references of another")
    options.idle("default", "it marks a store of text features")
    options.mapped("is_regularisation_data", "regularisation", "a dataset of its own in the run")
    mask = _MASKS[options.text("conditioning_type")] if role == "mask" else ""
    if mask:
        note = "a cell counts from one half on, in SimpleTuner from its first bright pixel on" if mask == "binary" else "its brightness weighs the clips' loss, which is divided by the weights' sum"
        options.mapped("conditioning_type", "dataset.mask_type", note, loss=mask == "binary")
        options.mapped("source_dataset_id", "dataset.mask_folder", "found by file names")
    options.mapped("conditioning_type", "references", "the reference's tokens stand before the clip's (IC-LoRA)")
    options.mapped("conditioning_data", "references", "the dataset whose files have the clips' names; of masks, its folder is dataset.mask_folder")
    options.mapped("source_dataset_id", "references", "found by file names")
    several = len(_names(options, "s2v_datasets")) > 1
    options.mapped("s2v_datasets", "dataset.sound_folder", "sound of the same file stem" + (", of the first one alone" if several else ""), loss=several)
    offset = options.number("timestep_sampling_offset", 0.0)
    options.mapped("timestep_sampling_offset", "train.timesteps.offsets", "for the clips of this dataset")
    _idle(options)
    entries = options.finish((*DATASET_KEYS, *DATASET_ROWS, *DATASET_REASONS))
    name = options.text("id", Path(spec["folder"]).name)
    if role not in ("none", "off"):
        DatasetSpec.from_dict(spec)
    return Imported(name, role, spec, (*entries, *nested), _names(options, "s2v_datasets"), _names(options, "conditioning_data"), offset, only,
                    options.text("source_dataset_id"), mask)  # fmt: skip
