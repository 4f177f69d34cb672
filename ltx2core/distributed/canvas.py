"""Training on several cards for a program that drives one: the core of Train LoRA with ``gpus`` above 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from ..cache.dataset import DatasetCache
from ..checkpoint.adapter import Adapter
from ..errors import LTX2Error
from ..memory.engine import MemorySettings
from ..models.handle import Models
from ..protocols import Reporter, StopSignal
from ..train.loop import TrainResult
from ..train.preview_clips import PreviewJob
from ..train.settings import RunConfig
from .job import make_job, read_result
from .launch import run_together


def check_gpus(gpus: int, device: torch.device) -> None:
    """Raises LTX2Error when this machine has fewer NVIDIA cards. A program that computes on the processor, ``device``, shares that."""
    here = torch.cuda.device_count()
    if gpus > here and device.type != "cpu":
        raise LTX2Error(f"gpus is {gpus} and this machine has {here} NVIDIA cards that PyTorch can use; lower gpus to that.")


def train_on_several(
    processes: int, models: Models, run: RunConfig, cache: DatasetCache, *, directory: Path, name: str, reporter: Reporter, stop: StopSignal,
    memory: MemorySettings | None = None, validation: DatasetCache | None = None, adapter: Adapter | None = None,
    references: DatasetCache | None = None, regularisation: DatasetCache | None = None, previews: Sequence[PreviewJob] = (), distributed: str = "auto", device: str | None = None,
) -> TrainResult:  # fmt: skip
    """``memory.training.train_lora`` in ``processes`` processes of their own, which load the base from its file.

    Args:
        device: "cpu" for processors; None for the cards.

    Raises:
        Interrupted: ``stop`` was set; the state is saved.
        LTX2Error: as there, or a process died; the message says which.
    """
    job = make_job(
        models, run, cache, directory, name, memory=None if memory is None else asdict(memory), validation=validation, references=references,
        regularisation=regularisation, adapter=adapter, previews=previews, distributed=distributed,
    )  # fmt: skip
    job.result_path.unlink(missing_ok=True)
    arguments = ["train-cache", str(job.write()), *(["--device", device] if device else [])]
    reporter.message(f"Training starts in {processes} processes; their output is in {directory / 'torchrun.txt'}.")
    run_together(processes, arguments, directory, reporter=reporter, stop=stop)
    return read_result(job, models.checkpoint.family.name)
