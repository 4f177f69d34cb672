"""A training of cached clips as one JSON file: what a canvas hands to the processes that torchrun starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..cache.dataset import DatasetCache
from ..checkpoint.adapter import Adapter, load_adapter, save_adapter
from ..checkpoint.combined import open_checkpoint
from ..errors import LTX2Error
from ..files import write_json
from ..memory.names import read_memory
from ..memory.training import train_lora
from ..models.handle import DTYPES, Models
from ..protocols import Reporter, Residency, StopSignal
from ..strict import from_dict
from ..train.history import History
from ..train.loop import TrainResult
from ..train.preview_clips import PreviewJob
from ..train.settings import RunConfig
from .kinds import check_kind
from .preview_file import load_previews, save_previews
from .world import World, agreed


@dataclass(frozen=True)
class TrainJob:
    """checkpoint: path. cache, validation, references, regularisation: manifests of cached datasets, "" for none. adapter:
    a file to begin with. previews: a file of them. directory: of the run, where the result lies too. run: a RunConfig. memory: None for what fits.
    """

    checkpoint: str
    cache: str
    directory: str
    name: str
    run: Mapping
    weight_dtype: str = "bf16"
    memory: Mapping | None = None
    validation: str = ""
    references: str = ""
    regularisation: str = ""
    adapter: str = ""
    previews: str = ""
    distributed: str = "auto"

    def __post_init__(self) -> None:
        check_kind(self.distributed)

    @property
    def adapter_path(self) -> Path:
        return Path(self.directory) / "adapter.safetensors"

    @property
    def result_path(self) -> Path:
        return Path(self.directory) / "result.json"

    def write(self) -> Path:
        path = Path(self.directory) / "job.json"
        write_json(path, asdict(self))
        return path


def read_job(path: Path) -> TrainJob:
    """Raises LTX2Error for a file that is no job."""
    try:
        return from_dict(TrainJob, json.loads(path.read_text(encoding="utf-8")), "job")
    except (OSError, ValueError) as error:
        raise LTX2Error(f"The job file {path} cannot be read ({error}); start the training again.") from error


def _manifest(cache: DatasetCache | None) -> str:
    return "" if cache is None else str(cache.save().resolve())


def _dtype_name(dtype: torch.dtype) -> str:
    return next(name for name, value in DTYPES.items() if value == dtype)


def make_job(
    models: Models, run: RunConfig, cache: DatasetCache, directory: Path, name: str, *, memory: Mapping | None = None, validation: DatasetCache | None = None,
    references: DatasetCache | None = None, regularisation: DatasetCache | None = None, adapter: Adapter | None = None, previews: Sequence[PreviewJob] = (),
    distributed: str = "auto",
) -> TrainJob:  # fmt: skip
    """What ``memory.training.train_lora`` is called with, on disk."""
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    start = ""
    if adapter is not None:
        start = str(save_adapter(directory / "start.safetensors", adapter, torch.float32))
    return TrainJob(
        checkpoint=str(Path(models.checkpoint.path).resolve()), cache=_manifest(cache), directory=str(directory), name=name, run=run.to_dict(),
        weight_dtype=_dtype_name(models.dtype), memory=memory, validation=_manifest(validation), references=_manifest(references),
        regularisation=_manifest(regularisation), adapter=start, distributed=distributed,
        previews=str(save_previews(directory / "previews.safetensors", previews)) if previews else "",
    )  # fmt: skip


def carry_out(job: TrainJob, *, residency: Residency, reporter: Reporter, stop: StopSignal, world: World) -> TrainResult:
    """Train, and leave the adapter in float32 and the run's figures in the directory."""
    checkpoint = open_checkpoint(job.checkpoint)
    models = Models(checkpoint, DTYPES[job.weight_dtype])

    def cached(manifest: str) -> DatasetCache | None:
        return DatasetCache.load(Path(manifest)) if manifest else None

    result = train_lora(
        models, RunConfig.from_dict(job.run), DatasetCache.load(Path(job.cache)), directory=Path(job.directory), name=job.name,
        residency=residency, reporter=reporter, stop=stop, memory=None if job.memory is None else read_memory(job.memory),
        validation=cached(job.validation), references=cached(job.references), regularisation=cached(job.regularisation),
        adapter=load_adapter(job.adapter, checkpoint.family.name) if job.adapter else None,
        previews=load_previews(Path(job.previews)) if job.previews else (), world=world, distributed=job.distributed,
    )  # fmt: skip
    with agreed(world):
        if world.rank == 0:
            save_adapter(job.adapter_path, result.adapter, torch.float32)
            figures = {"steps": result.steps, "seconds": result.seconds, "peak_bytes": result.peak_bytes, "state": str(result.adapter_state_path)}
            write_json(job.result_path, figures)
    return result


def read_result(job: TrainJob, family: str) -> TrainResult:
    """What :func:`carry_out` left, in another process."""
    figures = json.loads(job.result_path.read_text(encoding="utf-8"))
    adapter = load_adapter(job.adapter_path, family)
    history = History.open(Path(job.directory) / "metrics.jsonl", figures["steps"], written=False)
    named = Adapter(job.name, adapter.layers, adapter.family, adapter.metadata)
    return TrainResult(named, Path(figures["state"]), figures["steps"], history, figures["seconds"], figures["peak_bytes"], tuple(history.validation))
