"""One run, or a part of one, for the nodes that train: the adapter, its run file and its picture are written."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..ltx2core.checkpoint.adapter import save_adapter
from ..ltx2core.distributed.canvas import check_gpus, train_on_several
from ..ltx2core.distributed.rescue import shared_run
from ..ltx2core.errors import LTX2Error
from ..ltx2core.memory.training import train_lora
from ..ltx2core.run_record import write_run_record
from ..ltx2core.train.hub_push import push_adapter
from ..ltx2core.train.loop import TrainResult
from ..ltx2core.train.loss_plot import draw_losses
from ..ltx2core.train.segment import segment_end
from ..ltx2core.train.settings import RunConfig
from .base import running

_NAME = re.compile(r"[\w .\-]+(/[\w .\-]+)*")


@dataclass(frozen=True)
class Trained:
    """result: of the core; file: under models/loras; picture: IMAGE of the losses."""

    result: TrainResult
    file: str
    picture: torch.Tensor

    @property
    def ui(self) -> dict:
        return {"text": [_summary(self.file, self.result)], "ltx2_run": [_record(self.file, self.result)]}


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and ".." not in name


def train_run(checkpoint, cache, lora, settings, name: str, *, adapter=None, memory=None, previews=None, segment: int = 0, gpus: int = 1,
              distributed: str = "auto", **clips) -> Trained:  # fmt: skip
    """Train to the end, or ``segment`` steps on from where the run is.

    Args:
        adapter, memory, previews: what the wires carry, None for none.
        gpus: cards that share it; above 1 they have processes of their own. distributed: how they share the base.
        clips: caches of validation, references and regularisation, None for none.

    Raises:
        LTX2Error: a name that no file can have, an adapter at another strength than 1, and all that the core raises.
    """
    if not is_name(name):
        raise LTX2Error(f"The name {name!r} cannot be a file name; use letters, digits, spaces, dots, - and _, with / for a folder.")
    if adapter is not None and adapter.strength != 1:
        raise LTX2Error(f"Training goes on from {adapter.adapter.name} as it is in its file, and its strength is {adapter.strength:g}; set that strength to 1.")
    jobs = () if previews is None else previews.jobs
    settings = settings if previews is None else replace(settings, preview_every=previews.every)
    run, start = RunConfig(lora, settings), adapter.adapter if adapter is not None else None
    with running() as host, host.training(name) as live:
        directory, path = host.paths.runs_dir() / name, host.paths.loras_dir() / f"{name}.safetensors"
        common = {"directory": directory, "name": name, "reporter": host.reporter, "stop": host.stop, "memory": memory, "adapter": start, **clips}
        if gpus > 1:
            run = shared_run(run, directory, gpus)
            result = _on_several(gpus, checkpoint, run, cache, host, jobs, {**common, "distributed": distributed})
        else:
            until = segment_end(directory, segment, settings) if segment else None
            result = train_lora(checkpoint, run, cache, residency=host.residency, previews=jobs, controls=live.controls, until=until, **common)
        save_adapter(path, result.adapter)
        record = {"name": name, "directory": directory, "memory": result.memory or memory, "adapter": start, "distributed": distributed, **clips}
        write_run_record(path.with_suffix(".json"), checkpoint, run, cache, **record)
        if result.steps == settings.steps:
            push_adapter(run, result, path, host.reporter)
        picture = torch.from_numpy(np.array(draw_losses(result.history))).float()[None] / 255
        return Trained(result, f"{name}.safetensors", picture)


def _on_several(gpus: int, checkpoint, run: RunConfig, cache, host, jobs, common: dict) -> TrainResult:
    device = host.residency.device
    check_gpus(gpus, device)
    # The processes read the base themselves, and the first card is one of theirs.
    host.residency.free_all()
    checkpoint.drop("transformer")
    return train_on_several(gpus, checkpoint, run, cache, device="cpu" if device.type == "cpu" else None, previews=jobs, **common)


def _record(file: str, result: TrainResult) -> dict:
    """What a program that queued the graph wants to know."""
    losses = [{"step": v.step, "video": v.video, "audio": v.audio} for v in result.validation]
    return {"adapter": file, "steps": result.steps, "seconds": result.seconds, "peak_bytes": result.peak_bytes, "validation": losses}


def _summary(file: str, result: TrainResult) -> str:
    first, now = ((v.audio if v.video is None else v.video) for v in (result.validation[0], result.validation[-1])) if result.validation else (None, None)
    last = f", validation loss {now:.4f} (at the start {first:.4f})" if now is not None else ""
    return f"{file}: {result.steps} steps in {result.seconds:.0f} s{last}"
