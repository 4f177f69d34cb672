"""A whole run as one JSON file: what is loaded, cached, trained and sampled. The same steps as the canvas graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .cache.build import build_cache
from .cache.dataset import DatasetCache
from .cache.joined import joined
from .cache.store import Store
from .cache.text import cache_prompts, read_features
from .checkpoint.adapter import Adapter, load_adapter, save_adapter
from .checkpoint.combined import open_checkpoint
from .data.mixture import Collection, scan_all, shares_of
from .data.spec import DatasetSpec
from .distributed.world import ALONE, World, agreed, told
from .errors import LTX2Error
from .memory.training import train_lora
from .media.audio import Waveform, decode_audio
from .media.video import load_image
from .media.write import write_video
from .models.handle import Models, weight_dtype
from .protocols import Reporter, Residency, StopSignal
from .runspec import RunFile, SampleJob, read_run
from .sample.decode import Clip, decode
from .sample.given import Given, Picture
from .sample.modes import make
from .sample.reference import read_reference, reference_to_video
from .sample.settings import SampleSettings
from .text.features import TextFeatures
from .text.source import TextEncoderSource, open_text_encoder
from .train.audio_only import check_pictures
from .train.hub_push import push_adapter
from .train.loop import TrainResult
from .train.loss_plot import draw_losses
from .train.preview_clips import PreviewJob

__all__ = ["RunFile", "Runner", "SampleJob", "read_run"]


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
        self.text_encoder: TextEncoderSource | None = open_text_encoder(self.run.text_encoder) if self.run.text_encoder else None
        self.services = {"residency": self.residency, "reporter": self.reporter, "stop": self.stop}

    @property
    def cache_dir(self) -> Path:
        return self.run.cache_folder

    @property
    def adapter_path(self) -> Path:
        return self.output / f"{self.run.name}.safetensors"

    def cache(self, dataset: Mapping | None = None, pictures: bool = False) -> DatasetCache:
        """The dataset given, or all that the run trains on; ``pictures``: sound without picture is refused before anything is encoded."""
        if dataset is None and self.run.cache_files is not None:
            return DatasetCache.load(Path(self.run.cache_files.train))
        specs = self.run.specs if dataset is None else (DatasetSpec.from_dict(dataset),)
        found = told(self.world, partial(self.scan, specs))
        for message in found.messages:
            self.reporter.message(message)
        if pictures:
            check_pictures(clip for index in found.indexes for clip in index.clips)
        common = {**self.services, "world": self.world, "vae": self.run.vae_memory, "text_encoder_streamed": self.run.text_encoder_streamed}
        return joined([build_cache(p, self.models.checkpoint, self.text_encoder, self.cache_dir, **common) for p in found.indexes], shares_of(specs))

    def _other(self, name: str, dataset: Mapping | None) -> DatasetCache | None:
        """The cache of a further dataset; ``name``: what :class:`CacheFiles` calls it."""
        files = self.run.cache_files
        if files is not None:
            manifest = getattr(files, name)
            return DatasetCache.load(Path(manifest)) if manifest else None
        return None if dataset is None else self.cache(dataset)

    def _features(self, jobs: Sequence[SampleJob]) -> dict[str, TextFeatures]:
        """Of every prompt in ``jobs``, encoded once and kept in the cache."""
        prompts = list(dict.fromkeys(p for job in jobs for p in (job.prompt, job.negative)))
        store = Store(self.cache_dir)
        keys = cache_prompts(prompts, self.models.checkpoint, self.text_encoder, store, **self.services, world=self.world, streamed=self.run.text_encoder_streamed)
        return {prompt: read_features(store, key) for prompt, key in keys.items()}

    def previews(self) -> tuple[PreviewJob, ...]:
        jobs = self.run.preview_jobs
        features = self._features(jobs) if jobs else {}
        return tuple(
            PreviewJob(
                job.name, features[job.prompt], features[job.negative], SampleSettings.from_dict(job.settings),
                load_image(job.image) if job.image else None, _sound(job.sound) if job.sound else None,
                read_reference(job.reference, SampleSettings.from_dict(job.settings).snapped()[0]) if job.reference else None,
            )
            for job in jobs
        )  # fmt: skip

    def scan(self, specs: Sequence[DatasetSpec] | None = None) -> Collection:
        """The clips of ``specs``, or of all that the run trains on, as they would be cached; nothing is encoded."""
        return scan_all(self.run.specs if specs is None else specs, self.reporter, self.cache_dir / "scan.sqlite3")

    def train(self) -> TrainResult:
        """Caches, trains, writes the adapter and ``loss.png``, and pushes it where the run says so."""
        run, cache = self.run, self.cache(pictures=not self.run.config.train.audio_only)
        start = load_adapter(Path(run.adapter), self.models.checkpoint.family.name) if run.adapter else None
        result = train_lora(
            self.models, run.config, cache, directory=self.output / "runs" / run.name, name=run.name, **self.services,
            memory=run.memory_settings, validation=self._other("validation", run.validation_dataset), adapter=start,
            references=self._other("references", run.references), regularisation=self._other("regularisation", run.regularisation),
            previews=self.previews(), world=self.world, distributed=run.distributed,
        )  # fmt: skip
        with agreed(self.world):
            if self.world.rank == 0:
                save_adapter(self.adapter_path, result.adapter)
                draw_losses(result.history).save(self.output / "loss.png")
                push_adapter(run.config, result, self.adapter_path, self.reporter)
        return result

    def sample(self, adapter: Adapter | None = None) -> list[Path]:
        """Makes every video of the run file with the trained adapter, of several processes each its share; returns their paths."""
        jobs = self.run.jobs
        features = self._features(jobs)
        if adapter is None and any(job.strength for job in jobs):
            adapter = load_adapter(self.adapter_path, self.models.checkpoint.family.name)
        paths = []
        for job in jobs[self.world.rank :: self.world.size]:
            models = self.models.with_adapters((adapter, job.strength)) if job.strength else self.models
            positive, negative = features[job.prompt], features[job.negative]
            settings = SampleSettings.from_dict(job.settings)
            latents = self._latents(job, models, settings, positive, negative)
            clips = decode(latents, models, residency=self.residency, reporter=self.reporter)
            paths += [self._write(job, settings, seed, clip) for seed, clip in zip(settings.sample_seeds, clips, strict=True)]
        return paths

    def _write(self, job: SampleJob, settings: SampleSettings, seed: int, clip: Clip) -> Path:
        """One clip of the sample, named by its seed where there are several."""
        recipe = json.dumps({"prompt": job.prompt, "strength": job.strength, **settings.to_dict(), "seed": seed, "batch": 1, "seeds": ()}, ensure_ascii=False)
        name = job.name if settings.batch == 1 else f"{job.name}_seed{seed}"
        return write_video(self.output / f"{name}.mp4", clip.frames, clip.frame_rate, clip.waveform, {"comment": recipe})

    def _latents(self, job: SampleJob, models: Models, settings: SampleSettings, positive, negative):
        given = Given((Picture(load_image(job.image)),) if job.image else (), sound=_sound(job.sound) if job.sound else None)
        if job.reference and job.strength:
            return reference_to_video(models, settings, read_reference(job.reference, settings.snapped()[0]), positive, negative, given, **self.services)
        return make(models, settings, positive, negative, given, **self.services)


def _sound(path: str) -> Waveform:
    sound = decode_audio(path, rate=48000)
    if sound is None:
        raise LTX2Error(f"{Path(path).name} has no sound; give a sound file, or a video with sound.")
    return sound
