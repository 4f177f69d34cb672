"""The run file of a training that was started elsewhere, as on the canvas: ``python -m ltx2core train`` repeats it exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from .cache.dataset import DatasetCache
from .checkpoint.adapter import Adapter, save_adapter
from .files import write_json
from .memory.engine import MemorySettings
from .models.handle import DTYPES, Models
from .runspec import VERSION
from .strict import to_plain
from .train.settings import RunConfig
from .train.tracking_settings import TrackingSettings


def write_run_record(
    path: Path, models: Models, run: RunConfig, cache: DatasetCache, *, name: str, directory: Path, memory: MemorySettings | None = None,
    validation: DatasetCache | None = None, references: DatasetCache | None = None, regularisation: DatasetCache | None = None,
    adapter: Adapter | None = None, distributed: str = "auto",
) -> Path:  # fmt: skip
    """Write it to ``path``; results of repeating it lie in ``<name>_again`` beside it.

    The clips are named by their caches. Previews, whose prompts are not known here, are left out; they change no result.
    So are trackers and the hub, so that repeating a run sends nothing.

    Args:
        directory: of the run; an adapter that it began with is kept there.
        memory: as it was in the run, since a base in 8 bits gives other numbers; None lets the repetition choose anew.
    """
    named = {"train": cache, "validation": validation, "references": references, "regularisation": regularisation}
    caches = {key: str(value.save().resolve()) for key, value in named.items() if value is not None}
    plain = replace(run.train, resume="auto", preview_every=0, tracking=TrackingSettings())
    record = {
        "version": VERSION, "name": Path(name).name, "checkpoint": str(Path(models.checkpoint.path).resolve()), "text_encoder": "",
        "weight_dtype": next(key for key, value in DTYPES.items() if value == models.dtype), "caches": caches,
        "output": f"{Path(name).name}_again", "lora": to_plain(run.lora), "train": to_plain(plain), "distributed": distributed,
    }  # fmt: skip
    if memory is not None:
        record["memory"] = to_plain(memory)
    if adapter is not None:
        record["adapter"] = str(save_adapter(directory / "start.safetensors", adapter, torch.float32).resolve())
    write_json(path, record)
    return path
