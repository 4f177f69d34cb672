"""SimpleTuner's configuration and datasets as one run file, with a report of every key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.scan import scan
from ..data.spec import DatasetSpec
from ..errors import LTX2Error
from ..runspec import RunFile
from . import memory, methods, model, outside, training, validation
from .datasets import Imported, read_dataset
from .defaults import Defaults
from .idle import NEUTRAL, REASONS
from .model import Given
from .options import Options, unknown
from .partners import with_masks, with_sound
from .report import Entry, Report
from .rows import ALIASES, ROWS, put, read_rows
from .source import read_backends, read_config

_ABOVE = 3  # folders above the configuration in which its datasets' file is looked for
DIFFERENCES = (
    "Clips are resampled in time to frame_rate; SimpleTuner takes their frames one for one.",
    "Sound of a video dataset is trained where a clip has it; a clip without sound is trained as picture only.",
    "Sound draws a noise level of its own (train.timesteps.independent_audio), since a shared one hurts voices.",
    "A clip with several captions is a sample for each of them; SimpleTuner draws one at every visit.",
    "Frame counts are cut down to 8k+1 and sides to multiples of 32, and it is said.",
)
_AUDIO = {f"audio_{name}": name for name in ("channels", "duration_interval", "max_duration_seconds", "min_duration_seconds", "truncation_mode")}
_PARQUET = {f"parquet_{name}": name for name in ("caption_column", "filename_column")}
# Options that give defaults to datasets, or are read by the rules of this file.
_DATA_KEYS = (
    "data_backend_config", "resolution", "resolution_type", "framerate", "caption_strategy", "instance_prompt", "prepend_instance_prompt", "only_instance_prompt",
    "minimum_image_size", "maximum_image_size", "target_downsample_size", "disable_multiline_split", *_AUDIO, *_PARQUET, "data_backend_sampling",
)  # fmt: skip
_TRAINING_KEYS = (
    "lora_rank", "lora_alpha", "lora_dropout", "lora_type", "lora_format", "lora_init_type", "lycoris_config", "use_dora", "peft_lora_mode",
    "peft_lora_target_modules", "optimizer", "optimizer_config", "adam_beta1", "adam_beta2", "optimizer_beta1", "optimizer_beta2", "adam_epsilon",
    "grad_clip_method", "mixed_precision", "base_model_default_dtype", "gradient_precision", "max_train_steps", "num_train_epochs", "lr_scheduler",
    "lr_warmup_steps", "lr_scale", "lr_scale_sqrt", "lr_end", "lr_num_cycles", "lr_power", "use_ema", "ema_decay", "ema_update_interval", "ema_warmup_steps",
    "flow_schedule_shift", "flow_sigmoid_scale", "flow_use_uniform_schedule", "flow_use_beta_schedule", "flow_beta_schedule_alpha",
    "flow_beta_schedule_beta", "flow_schedule_auto_shift", "huber_schedule",
)  # fmt: skip
_MEMORY_KEYS = (
    "musubi_blocks_to_swap", "musubi_block_swap_device", "enable_group_offload", "group_offload_type", "group_offload_blocks_per_group",
    "group_offload_use_stream", "group_offload_text_encoder", "ramtorch", "ramtorch_transformer_percent", "ramtorch_text_encoder", "base_model_precision",
    "offload_during_startup", "vae_enable_tiling", "vae_dtype",
)  # fmt: skip
KNOWN = frozenset((
    *(row.key for row in ROWS), *ALIASES, *REASONS, *_DATA_KEYS, *_TRAINING_KEYS, *_MEMORY_KEYS, *methods.METHOD_KEYS, *model.MODEL_KEYS,
    *validation.VALIDATION_KEYS, *outside.OUTSIDE_KEYS,
))  # fmt: skip


@dataclass(frozen=True)
class ImportedRun:
    """run: what a run file holds, checked. report: of every key."""

    run: dict
    report: Report


def _renamed(raw: Mapping[str, object]) -> dict[str, object]:
    return {ALIASES.get(key, key): value for key, value in raw.items()}


def _check_known(raw: Mapping[str, object], source: str) -> None:
    for key in raw:
        if key not in KNOWN:
            raise unknown(source, key, KNOWN)


def _defaults(options: Options, run: dict, folder: Path) -> Defaults:
    rate = options.number("framerate")
    return Defaults(
        options.number("resolution", 1024.0), options.text("resolution_type", "pixel_area"), rate or 25.0,
        options.text("caption_strategy", "filename"), options.text("instance_prompt"), options.flag("prepend_instance_prompt"),
        options.flag("only_instance_prompt"), options.number("minimum_image_size", 0.0), not options.flag("disable_multiline_split"),
        run["train"].get("seed", 42), folder, options.text("eval_dataset_id"), _block(options, _AUDIO), _block(options, _PARQUET),
    )  # fmt: skip


def _block(options: Options, names: Mapping[str, str]) -> dict[str, object]:
    """A dataset's nested keys as the configuration's options of longer names give them."""
    return {ours: value for key, ours in names.items() if (value := options.read(key, lambda v: v)) is not None}


def _note_data(options: Options) -> None:
    options.mapped("data_backend_config", "dataset", "the second file")
    for key in ("resolution", "resolution_type", "framerate", "caption_strategy", "instance_prompt", "prepend_instance_prompt", "only_instance_prompt",
                "minimum_image_size", "disable_multiline_split"):  # fmt: skip
        options.mapped(key, "dataset", "for datasets that do not say it themselves")
    for key in ("maximum_image_size", "target_downsample_size"):
        options.idle(key, "pictures are reduced from their full size to the bucket's in one step")
    for key, name in _AUDIO.items():
        options.mapped(key, "dataset", f"audio.{name} of audio datasets that do not say it themselves")
    for key, name in _PARQUET.items():
        options.mapped(key, "dataset", f"parquet.{name} of datasets that do not say it themselves")
    options.mapped("data_backend_sampling", "dataset.probability", "datasets are drawn by their size and repeats, or by their probability")


def _name(options: Options) -> str:
    """Of the adapter: the last part of the output folder."""
    found = Path(options.text("output_dir", "simpletuner-results")).name
    return re.sub(r"[^\w.-]+", "_", found) or "ltx2_lora"


def _read_run(options: Options, folder: Path, given: Given, samples: Callable[[], int] | None) -> dict:
    run: dict = {"train": {}, "lora": {}}
    model.read_model(options, run, given)
    read_rows(options, run)
    run["name"] = _name(options)
    training.read_lora(options, run, folder)
    training.read_optimizer(options, run)
    training.read_schedule(options, run, samples)
    training.read_ema(options, run)
    training.read_timesteps(options, run)
    memory.read_memory_options(options, run)
    memory.read_vae_options(options, run)
    methods.read_crepa(options, run)
    methods.read_tread(options, run)
    methods.read_rollout(options, run)
    methods.read_conditioning(options, run)
    outside.read_outside(options, run, folder)
    return run


def _place(run: dict, datasets: Sequence[Imported]) -> None:
    """Every dataset under the name of its role."""
    trained = [d for d in datasets if d.role == "train"]
    if not trained:
        raise LTX2Error("No dataset is left to train on; give one of dataset_type video, image or audio that is not disabled.")
    if any(d.spec.get("probability") for d in trained):
        for dataset in trained:
            # There a whole batch comes from the dataset that was drawn; here shares are of samples.
            own = dataset.spec.get("batch_size") or run["train"]["batch_size"]
            dataset.spec["probability"] = dataset.spec.get("probability", 1.0) * own / run["train"]["batch_size"]
    if len(trained) == 1:
        trained[0].spec.pop("probability", None)
        run["dataset"] = trained[0].spec
    else:
        run["datasets"] = [d.spec for d in trained]
    for role, name in (("validation", "validation_dataset"), ("reference", "references"), ("regularisation", "regularisation")):
        found = [d for d in datasets if d.role == role]
        if len(found) > 1:
            raise LTX2Error(f"{len(found)} datasets are for {name}; keep one ({', '.join(d.name for d in found)}).")
        if found:
            run[name] = {k: v for k, v in found[0].spec.items() if k != "probability"}
    alone = [d.name for d in trained if d.audio_only]
    if 0 < len(alone) < len(trained):
        raise LTX2Error(f"{', '.join(alone)} trains sound alone and other datasets have pictures, which one run does not do; import each with the others disabled.")
    if alone:
        put(run, "train.audio_only", True)
    std = run["train"]["timesteps"].get("std", 1.0)
    offsets = [[d.name, d.offset * std] for d in trained if d.offset]
    if offsets:
        put(run, "train.timesteps.offsets", offsets)


def count_samples(datasets: Sequence[Imported]) -> int:
    """Samples of an epoch, by looking through the folders."""
    specs = [DatasetSpec.from_dict(d.spec) for d in datasets if d.role == "train"]
    return sum(len(scan(spec).clips) * (spec.repeats + 1) for spec in specs)


def datasets_of(run: RunFile) -> tuple[tuple[str, DatasetSpec], ...]:
    """(role, dataset) of every folder of ``run``: those to train on, then held-out clips, references and regularisation."""
    others = (("validation", run.validation_dataset), ("references", run.references), ("regularisation", run.regularisation))
    return (*(("train", spec) for spec in run.specs), *((role, DatasetSpec.from_dict(raw)) for role, raw in others if raw is not None))


def import_config(raw: Mapping[str, object], backends: Sequence[Mapping[str, object]], folder: Path, given: Given = Given(), source: str = "config") -> ImportedRun:
    """One run.

    Args:
        raw: options by name. backends: datasets. folder: what relative paths in them start from.

    Raises:
        LTX2Error: an unknown key, a bad value, or something this pack can't do; the message names it.
    """
    _check_known(raw, source)
    options = Options(_renamed(raw), source)
    seed = options.whole("seed", 42)
    defaults = _defaults(options, {"train": {"seed": seed}}, folder)
    datasets = with_masks(with_sound([read_dataset(b, i, defaults) for i, b in enumerate(backends)]))
    run = _read_run(options, folder, given, lambda: count_samples(datasets))
    run["output"] = _beside(options.text("output_dir", "simpletuner-results"), folder)
    _place(run, datasets)
    validation.read_validation(options, run, folder, defaults.frame_rate)
    outside.read_previews(options, run)
    _note_data(options)
    for key, reason in REASONS.items():
        value = options.read(key, lambda v: v)
        options.idle(key, reason, loss=key in NEUTRAL and value is not None and value not in NEUTRAL[key])
    entries: tuple[Entry, ...] = (*options.finish(KNOWN), *(e for d in datasets for e in d.entries))
    return ImportedRun(run, Report(entries, DIFFERENCES))


def _beside(name: str, folder: Path) -> str:
    path = Path(name).expanduser()
    return str(path if path.is_absolute() else folder / path)


def _started(raw: Mapping[str, object], config: Path, root: Path | None) -> tuple[Path, Path] | None:
    """The datasets' file that ``config`` names, and the folder from which its name starts; None where there is no such file."""
    named, own = Path(str(raw["data_backend_config"])).expanduser(), config.absolute().parent
    # SimpleTuner starts from its own folder, which holds config/NAME.json and the datasets' folders beside it.
    starts = ([root] if root else []) + [own, *list(own.parents)[:_ABOVE], Path.cwd()]
    found = next((start for start in starts if (start / named).is_file()), None)
    if found is None:
        # A copied pair of files lies side by side.
        return (own / named.name, own) if (own / named.name).is_file() else None
    return found / named, own if named.is_absolute() else found


def import_files(config: Path, backends: Path | None = None, *, root: Path | None = None, given: Given = Given()) -> ImportedRun:
    """Read a configuration and its datasets' file (by default the one that the configuration names).

    Args:
        root: what relative paths inside start from. None is the folder from which the configuration names that file, its own or
            one above it. The run has all paths in full, as it may be kept elsewhere.
    """
    raw = read_config(config)
    if backends is None and not raw.get("data_backend_config"):
        raise LTX2Error(f"{config.name} names no data_backend_config; give the datasets' file after it.")
    file, start = (_started(raw, config, root) if raw.get("data_backend_config") else None) or (None, config.parent)
    if backends is None and file is None:
        raise LTX2Error(f"{config.name} names the datasets' file {raw['data_backend_config']}, which is not there; give its path after the configuration.")
    if backends is not None and (file is None or not backends.is_file() or not file.samefile(backends)):
        start = config.parent
    return import_config(raw, read_backends(backends or file), (root or start).absolute(), given, config.name)
