"""What a run file says, read strictly. Carried out by ``runfile.Runner``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .data.spec import PATHS, DatasetSpec
from .distributed.kinds import check_kind
from .errors import LTX2Error
from .hub import is_hub_name
from .memory.engine import MemorySettings
from .memory.names import read_memory, streams_text_encoder
from .models.vae_memory import VaeMemory
from .strict import from_dict
from .train.settings import LoRASettings, RunConfig, TrainSettings

VERSION = 1
_FOLDERS = ("dataset", "validation_dataset", "references", "regularisation")


@dataclass(frozen=True)
class SampleJob:
    """One video to make.

    name: of the file. image or sound: paths, at most one; without them it is text to video. strength: of the trained
    adapter, 0 for the base alone. settings: those of :class:`SampleSettings`. reference: path of a video that an IC-LoRA
    follows, beside a picture or sound too; the base alone is not shown it.
    """

    name: str
    prompt: str
    negative: str = ""
    image: str = ""
    sound: str = ""
    strength: float = 1.0
    settings: Mapping = field(default_factory=dict)
    reference: str = ""

    def __post_init__(self) -> None:
        if self.image and self.sound:
            raise LTX2Error(f"The sample {self.name} has an image and a sound; give one of them.")


@dataclass(frozen=True)
class CacheFiles:
    """Manifests of caches that are there already, in place of datasets; "" for none."""

    train: str
    validation: str = ""
    references: str = ""
    regularisation: str = ""


@dataclass(frozen=True)
class RunFile:
    """checkpoint, text_encoder, dataset folder: paths, relative ones beside the run file. output: where all results go.

    version: of this form, 1. dataset: one, or ``datasets``: several, or ``caches``: :class:`CacheFiles`, as the nodes write
    them. adapter: the file to begin with. previews: made every ``train.preview_every`` steps, in the form of samples. references: what a clip is made from (IC-LoRA). regularisation: clips that
    stay as the base makes them. vae: how clips are encoded, None for the usual way. distributed: how several cards share the
    base, see ``distributed/kinds.py``. cache_dir: where clips and captions are kept, which several runs may share; empty is
    ``output/cache``.
    """

    checkpoint: str
    text_encoder: str
    dataset: Mapping | None = None
    output: str = "output"
    name: str = "ltx2_lora"
    weight_dtype: str = "auto"
    validation_dataset: Mapping | None = None
    lora: Mapping = field(default_factory=dict)
    train: Mapping = field(default_factory=dict)
    samples: tuple = ()
    memory: Mapping | None = None
    datasets: tuple = ()
    vae: Mapping | None = None
    references: Mapping | None = None
    regularisation: Mapping | None = None
    distributed: str = "auto"
    version: int = VERSION
    adapter: str = ""
    previews: tuple = ()
    caches: Mapping | None = None
    cache_dir: str = ""

    def __post_init__(self) -> None:
        check_kind(self.distributed)
        if self.version != VERSION:
            raise LTX2Error(f"The run file has version {self.version} and this pack reads version {VERSION}; update the pack, or correct the file.")
        if [self.dataset is None, not self.datasets, self.caches is None].count(False) != 1:
            raise LTX2Error("The run needs one of dataset, one folder of clips, datasets, a list of several, and caches, manifests; give one of them.")
        if not self.text_encoder and (self.caches is None or self.samples or self.previews):
            raise LTX2Error("The run has prompts or captions to encode and text_encoder is empty; give the path of Gemma3.")

    @property
    def specs(self) -> tuple[DatasetSpec, ...]:
        """The datasets that are trained on, without those that are disabled."""
        raw = self.datasets or (() if self.dataset is None else (self.dataset,))
        return tuple(spec for spec in (from_dict(DatasetSpec, r, "dataset") for r in raw) if not spec.disabled)

    @property
    def cache_folder(self) -> Path:
        return Path(self.cache_dir) if self.cache_dir else Path(self.output) / "cache"

    @property
    def vae_memory(self) -> VaeMemory | None:
        return None if self.vae is None else from_dict(VaeMemory, self.vae, "vae")

    @property
    def memory_settings(self) -> MemorySettings | None:
        """None lets the plan decide by what is free. Other trainers' names are read too, see ``memory/names.py``."""
        return None if self.memory is None else read_memory(self.memory)

    @property
    def text_encoder_streamed(self) -> bool | None:
        """``memory.ramtorch_text_encoder``; None lets it be decided by what is free."""
        return None if self.memory is None else streams_text_encoder(self.memory)

    @property
    def config(self) -> RunConfig:
        return RunConfig(from_dict(LoRASettings, self.lora, "lora"), from_dict(TrainSettings, self.train, "train"))

    @property
    def cache_files(self) -> CacheFiles | None:
        return None if self.caches is None else from_dict(CacheFiles, self.caches, "caches")

    @property
    def jobs(self) -> tuple[SampleJob, ...]:
        return tuple(from_dict(SampleJob, job, f"samples[{i}]") for i, job in enumerate(self.samples))

    @property
    def preview_jobs(self) -> tuple[SampleJob, ...]:
        jobs = tuple(from_dict(SampleJob, job, f"previews[{i}]") for i, job in enumerate(self.previews))
        for job in jobs:
            if job.strength != 1:
                raise LTX2Error(f"The preview {job.name} has strength {job.strength:g}; previews show the adapter as it is, leave strength out.")
        return jobs


def read_run(path: Path) -> RunFile:
    """Read and check a run file; its relative paths are taken from its folder.

    Raises:
        LTX2Error: not JSON, an unknown key or a bad value; says which.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LTX2Error(f"The run file {path} cannot be read ({error}); give the path of a JSON file.") from error
    run = from_dict(RunFile, raw, "run")

    def beside(name: str) -> str:
        # What is no text is left as it is, for the check of its type.
        return str(path.parent / Path(name).expanduser()) if name and isinstance(name, str) else name

    def dataset(spec: Mapping | None) -> Mapping | None:
        return spec if not isinstance(spec, Mapping) else {**spec, **{k: beside(spec[k]) for k in PATHS if spec.get(k)}}

    def job(value: Mapping) -> Mapping:
        return value if not isinstance(value, Mapping) else {**value, **{k: beside(value[k]) for k in ("image", "sound", "reference") if value.get(k)}}

    values = {**vars(run), "checkpoint": beside(run.checkpoint), "text_encoder": beside(run.text_encoder), "output": beside(run.output), "cache_dir": beside(run.cache_dir)}
    values |= {name: dataset(getattr(run, name)) for name in _FOLDERS}
    values |= {"datasets": tuple(dataset(d) for d in run.datasets), "samples": tuple(job(j) for j in run.samples)}
    values |= {"previews": tuple(job(j) for j in run.previews), "adapter": beside(run.adapter), "train": _train_beside(run.train, beside)}
    values["caches"] = None if run.caches is None else {k: beside(v) for k, v in run.caches.items()}
    run = RunFile(**values)
    _ = run.config, run.jobs, run.preview_jobs, run.memory_settings, run.vae_memory, run.specs, run.cache_files
    return run


def _train_beside(train: Mapping, beside: Callable[[str], str]) -> dict:
    """``resume`` and ``crepa.encoder`` may be paths, which are beside the run file too. A name of the hub stays unless a folder lies there."""
    resume, crepa, train = train.get("resume"), train.get("crepa"), dict(train)
    if isinstance(resume, str) and resume not in ("auto", "new", ""):
        train["resume"] = beside(resume)
    encoder = crepa.get("encoder") if isinstance(crepa, Mapping) else None
    if isinstance(encoder, str) and (Path(beside(encoder)).is_dir() or not is_hub_name(encoder)):
        train["crepa"] = {**crepa, "encoder": beside(encoder)}
    return train
