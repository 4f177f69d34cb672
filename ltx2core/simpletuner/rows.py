"""Options that are one value here too: data alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .options import Options, as_flag, as_number, as_text, as_whole

# Older names of options, still found in files.
ALIASES: Mapping[str, str] = MappingProxyType(
    {"checkpointing_steps": "checkpoint_step_interval", "checkpointing_limit": "checkpoints_total_limit", "rank": "lora_rank", "training_seed": "seed"}
)


@dataclass(frozen=True)
class Row:
    """key: SimpleTuner's. where: the run file's. default: SimpleTuner's, taken where the key is not written; None leaves ours."""

    key: str
    where: str
    kind: Callable[[object], object]
    default: object = None
    note: str = ""


ROWS = (
    Row("learning_rate", "train.learning_rate", as_number),
    Row("train_batch_size", "train.batch_size", as_whole, 4),
    Row("gradient_accumulation_steps", "train.accumulation", as_whole, 1),
    Row("seed", "train.seed", as_whole),
    Row("max_grad_norm", "train.max_grad_norm", as_number, 2.0),
    Row("adam_weight_decay", "train.weight_decay", as_number, 1e-2),
    Row("loss_type", "train.loss", as_text),
    Row("huber_c", "train.huber_c", as_number),
    Row("audio_loss_weight", "train.audio_weight", as_number, None, "0 is really 0 here"),
    Row("caption_dropout_probability", "train.caption_dropout", as_number, 0.1),
    Row("checkpoint_step_interval", "train.checkpoint_every", as_whole, 500),
    Row("checkpoints_total_limit", "train.keep_checkpoints", as_whole, 5),
    Row("eval_steps_interval", "train.validate_every", as_whole),
    Row("num_eval_images", "train.validation_clips", as_whole),
    Row("gradient_checkpointing", "train.gradient_checkpointing", as_flag, True),
    Row("ltx2_reference_spatial_scale_factor", "train.conditioning.reference_spatial", as_whole),
    Row("ltx2_reference_temporal_scale_factor", "train.conditioning.reference_temporal", as_whole),
    Row("output_dir", "output", as_text),
    Row("vae_batch_size", "vae.batch_size", as_whole, 4),
    Row("vae_enable_patch_conv", "vae.patch_conv", as_flag),
    Row("vae_enable_temporal_roll", "vae.temporal_roll", as_flag, None, "a setting of its own here, with less memory than patch_conv"),
    Row("vae_enable_slicing", "vae.slicing", as_flag),
)


def put(run: dict, where: str, value: object) -> None:
    """Set the dotted path ``where`` of the nested ``run``."""
    *parents, name = where.split(".")
    for parent in parents:
        run = run.setdefault(parent, {})
    run[name] = value


def read_rows(options: Options, run: dict) -> None:
    """Every row that is written, or whose default differs from ours, into ``run``."""
    for row in ROWS:
        value = options.read(row.key, row.kind)
        if value is not None:
            put(run, row.where, value)
            options.honoured(row.key, row.where, row.note)
        elif row.default is not None:
            put(run, row.where, row.default)
            options.default(row.key, row.default, row.where)
        options.idle(row.key, "it is empty")
