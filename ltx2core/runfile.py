"""A whole run as one JSON file: what is loaded, cached, trained and sampled. The same steps as the canvas graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from .cache.build import build_cache
from .cache.dataset import DatasetCache
from .cache.store import Store
from .cache.text import cache_prompts, read_features
from .checkpoint.adapter import Adapter, load_adapter, save_adapter
from .checkpoint.combined import open_checkpoint
from .data.scan import Clip, scan
from .data.spec import DatasetSpec
from .distributed.kinds import check_kind
from .distributed.world import ALONE, World, agreed, told
from .errors import LTX2Error
from .memory.engine import MemorySettings
from .memory.names import read_memory
from .memory.training import train_lora
from .media.audio import Waveform, decode_audio
from .media.video import load_image
from .media.write import write_video
from .models.handle import Models, weight_dtype
from .models.vae_memory import VaeMemory
from .protocols import Reporter, Residency, StopSignal
from .sample.decode import decode
from .sample.modes import image_to_video, sound_to_video, text_to_video
from .sample.settings import SampleSettings
from .strict import from_dict
from .text.source import TextEncoderSource, open_text_encoder
from .train.loop import TrainResult
from .train.loss_plot import draw_losses
from .train.settings import LoRASettings, RunConfig, TrainSettings


_FOLDERS = ("dataset", "validation_dataset", "references", "regularisation")


@dataclass(frozen=True)
class SampleJob:
    """One video to make.

    name: of the file. image or sound: paths, at most one; without them it is text to video. strength: of the trained
    adapter, 0 for the base alone. settings: those of :class:`SampleSettings`.
    """

    name: str
    prompt: str
    negative: str = ""
    image: str = ""
    sound: str = ""
    strength: float = 1.0
    settings: Mapping = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.image and self.sound:
            raise LTX2Error(f"The sample {self.name} has an image and a sound; give one of them.")


@dataclass(frozen=True)
class RunFile:
    """checkpoint, text_encoder, dataset folder: paths, relative ones beside the run file. output: where all results go.

    dataset: one, or ``datasets``: several. references: what a clip is made from (IC-LoRA). regularisation: clips that
    stay as the base makes them. vae: how clips are encoded, None for the usual way. distributed: how several cards share the
    base, see ``distributed/kinds.py``.
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

    def __post_init__(self) -> None:
        check_kind(self.distributed)
        if (self.dataset is None) == (not self.datasets):
            raise LTX2Error("The run needs either dataset, one folder of clips, or datasets, a list of several; give one of the two.")

    @property
    def specs(self) -> tuple[DatasetSpec, ...]:
        """The datasets that are trained on, without those that are disabled."""
        raw = self.datasets or (self.dataset,)
        return tuple(spec for spec in (from_dict(DatasetSpec, r, "dataset") for r in raw) if not spec.disabled)

    @property
    def vae_memory(self) -> VaeMemory | None:
        return None if self.vae is None else from_dict(VaeMemory, self.vae, "vae")

    @property
    def memory_settings(self) -> MemorySettings | None:
        """None lets the plan decide by what is free. Other trainers' names are read too, see ``memory/names.py``."""
        return None if self.memory is None else read_memory(self.memory)

    @property
    def config(self) -> RunConfig:
        return RunConfig(from_dict(LoRASettings, self.lora, "lora"), from_dict(TrainSettings, self.train, "train"))

    @property
    def jobs(self) -> tuple[SampleJob, ...]:
        return tuple(from_dict(SampleJob, job, f"samples[{i}]") for i, job in enumerate(self.samples))


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
        return str(path.parent / Path(name).expanduser())

    def dataset(spec: Mapping | None) -> dict | None:
        return None if spec is None else {**spec, **{k: beside(spec[k]) for k in ("folder", "sound_folder") if spec.get(k)}}

    def job(value: Mapping) -> dict:
        return {**value, **{k: beside(value[k]) for k in ("image", "sound") if value.get(k)}}

    values = {**vars(run), "checkpoint": beside(run.checkpoint), "text_encoder": beside(run.text_encoder), "output": beside(run.output)}
    values |= {name: dataset(getattr(run, name)) for name in _FOLDERS}
    values |= {"datasets": tuple(dataset(d) for d in run.datasets), "samples": tuple(job(j) for j in run.samples)}
    run = RunFile(**values)
    _ = run.config, run.jobs, run.memory_settings, run.vae_memory, run.specs
    return run


@dataclass
class Runner:
    """Carries out the parts of a run file; each part finds what earlier ones left on disk. ``world``: who shares the work."""

    run: RunFile
    residency: Residency
    reporter: Reporter
    stop: StopSignal
    world: World = ALONE

    def __post_init__(self) -> None:
        self.output = Path(self.run.output)
        checkpoint = open_checkpoint(self.run.checkpoint)
        self.models = Models(checkpoint, weight_dtype(self.run.weight_dtype, self.residency.device))
        self.text_encoder: TextEncoderSource = open_text_encoder(self.run.text_encoder)
        self.services = {"residency": self.residency, "reporter": self.reporter, "stop": self.stop}

    @property
    def cache_dir(self) -> Path:
        return self.output / "cache"

    @property
    def adapter_path(self) -> Path:
        return self.output / f"{self.run.name}.safetensors"

    def cache(self, dataset: Mapping | None = None) -> DatasetCache:
        """The dataset given, or all that the run trains on."""
        specs = self.run.specs if dataset is None else (DatasetSpec.from_dict(dataset),)
        parts = [told(self.world, partial(scan, spec, self.reporter)) for spec in specs]
        return _joined([build_cache(p, self.models.checkpoint, self.text_encoder, self.cache_dir, **self.services, world=self.world) for p in parts])

    def _other(self, dataset: Mapping | None) -> DatasetCache | None:
        return None if dataset is None else self.cache(dataset)

    def clips(self) -> tuple[Clip, ...]:
        """The clips as they would be cached; nothing is encoded."""
        return tuple(clip for spec in self.run.specs for clip in scan(spec, self.reporter).clips)

    def train(self) -> TrainResult:
        """Caches, trains, and writes the adapter and ``loss.png``."""
        cache = self.cache()
        result = train_lora(
            self.models, self.run.config, cache, directory=self.output / "runs" / self.run.name, name=self.run.name, **self.services,
            memory=self.run.memory_settings, validation=self._other(self.run.validation_dataset),
            references=self._other(self.run.references), regularisation=self._other(self.run.regularisation),
            world=self.world, distributed=self.run.distributed,
        )  # fmt: skip
        with agreed(self.world):
            if self.world.rank == 0:
                save_adapter(self.adapter_path, result.adapter)
                draw_losses(result.history).save(self.output / "loss.png")
        return result

    def sample(self, adapter: Adapter | None = None) -> list[Path]:
        """Makes every video of the run file with the trained adapter, of several processes each its share; returns their paths."""
        jobs = self.run.jobs
        prompts = list(dict.fromkeys(p for job in jobs for p in (job.prompt, job.negative)))
        store = Store(self.cache_dir)
        keys = cache_prompts(prompts, self.models.checkpoint, self.text_encoder, store, **self.services, world=self.world)
        if adapter is None and any(job.strength for job in jobs):
            adapter = load_adapter(self.adapter_path, self.models.checkpoint.family.name)
        paths = []
        for job in jobs[self.world.rank :: self.world.size]:
            models = self.models.with_adapters((adapter, job.strength)) if job.strength else self.models
            positive, negative = read_features(store, keys[job.prompt]), read_features(store, keys[job.negative])
            settings = SampleSettings.from_dict(job.settings)
            latents = self._latents(job, models, settings, positive, negative)
            clip = decode(latents, models, residency=self.residency, reporter=self.reporter)[0]
            recipe = json.dumps({"prompt": job.prompt, "strength": job.strength, **settings.to_dict()}, ensure_ascii=False)
            paths.append(write_video(self.output / f"{job.name}.mp4", clip.frames, clip.frame_rate, clip.waveform, {"comment": recipe}))
        return paths

    def _latents(self, job: SampleJob, models: Models, settings: SampleSettings, positive, negative):
        if job.image:
            return image_to_video(models, settings, load_image(job.image), positive, negative, **self.services)
        if job.sound:
            return sound_to_video(models, settings, _sound(job.sound), positive, negative, **self.services)
        return text_to_video(models, settings, positive, negative, **self.services)


def _joined(caches: Sequence[DatasetCache]) -> DatasetCache:
    """One set of all; each clip is drawn as often as its dataset's repeats say."""
    if len(caches) == 1:
        return caches[0]
    clips = tuple(clip for cache in caches for clip in cache.clips)
    return replace(caches[0], clips=clips, messages=tuple(message for cache in caches for message in cache.messages))


def _sound(path: str) -> Waveform:
    sound = decode_audio(path, rate=48000)
    if sound is None:
        raise LTX2Error(f"{Path(path).name} has no sound; give a sound file, or a video with sound.")
    return sound
