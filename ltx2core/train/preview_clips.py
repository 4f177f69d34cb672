"""Previews of a run as films in its folder, made by the samplers of ``ltx2core/sample``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image
from torch import Tensor, device, nn

from ..errors import LTX2Error
from ..media.audio import Waveform
from ..media.write import write_video
from ..models.handle import Models
from ..protocols import PreviewMade, Progress, Reporter, Residency, Room, StopSignal
from ..sample.decode import Clip, decode
from ..sample.given import Given, Picture
from ..sample.loop import Latents
from ..sample.modes import make
from ..sample.reference import Reference, fit_settings, reference_to_video
from ..sample.settings import SampleSettings
from ..text.features import TextFeatures
from .reference import ReferenceScale

_NAME = re.compile(r"[\w.\-]+")


@dataclass(frozen=True)
class PreviewJob:
    """One film: of a prompt, with a first picture (``image``, uint8 [1, H, W, 3]) or for a sound, and after a reference video, if given."""

    name: str
    positive: TextFeatures
    negative: TextFeatures | None = None
    settings: SampleSettings = field(default_factory=SampleSettings)
    image: Tensor | None = None
    sound: Waveform | None = None
    reference: Reference | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LTX2Error(f"The preview's name {self.name!r} cannot be part of a file name; use letters, digits, dots, - and _.")
        if self.image is not None and self.sound is not None:
            raise LTX2Error(f"The preview {self.name} has an image and a sound; give one of them.")

    @property
    def given(self) -> Given:
        return Given(() if self.image is None else (Picture(self.image),), sound=self.sound)


class Holding:
    """A residency inside which ``live`` stays as it is: training needs it at its place, with its adapter."""

    def __init__(self, inner: Residency, live: nn.Module):
        self._inner, self._live = inner, live

    @property
    def device(self) -> device:
        return self._inner.device

    @contextmanager
    def use(self, module: nn.Module, working_bytes: int = 0) -> Iterator[nn.Module]:
        if module is self._live:
            yield module
            return
        with self._inner.use(module, working_bytes):
            yield module

    def release(self, module: nn.Module) -> None:
        if module is not self._live:
            self._inner.release(module)

    def room(self) -> Room:
        return self._inner.room()


def check_references(jobs: Sequence[PreviewJob], scale: ReferenceScale | None, reporter: Reporter) -> None:
    """Of a run that shows the model references of ``scale``, None for none: a preview without one is said, in one sentence for all.

    Raises:
        LTX2Error: a reference in a run without, or one that does not suit its clip.
    """
    for job in (j for j in jobs if j.reference is not None):
        if scale is None:
            raise LTX2Error(f"The preview {job.name} has a reference video and the run shows the model none; give the run references, or take the preview's away.")
        try:
            job.reference.check(fit_settings(job.settings, scale)[0], scale)
        except LTX2Error as error:
            raise LTX2Error(f"The preview {job.name}: {error}") from error
    without = [job.name for job in jobs if job.reference is None]
    if scale is not None and without:
        reporter.message(
            f"Previews without a reference video ({', '.join(without)}) show the model without what it is trained to follow; give each of them a reference.", "warning",
        )  # fmt: skip


def _alone(job: PreviewJob, reporter: Reporter) -> PreviewJob:
    """A preview shows one clip: of several seeds the first."""
    if job.settings.batch == 1:
        return job
    seed = job.settings.sample_seeds[0]
    reporter.message(f"A preview is one clip: {job.name} is made of seed {seed} alone.")
    return replace(job, settings=replace(job.settings, seed=seed, batch=1, seeds=()))


class ClipPreviews:
    """A :class:`~ltx2core.train.previews.Preview` of ``jobs``: ``directory/previews/step-000100-<name>.mp4``.

    scale: of the references that the run shows the model, whose metadata the adapter in training does not have yet; None for none.
    """

    def __init__(
        self, models: Models, jobs: Sequence[PreviewJob], directory: Path, run: str, *, residency: Residency, reporter: Reporter, stop: StopSignal,
        scale: ReferenceScale | None = None,
    ):  # fmt: skip
        if len({job.name for job in jobs}) != len(jobs):
            raise LTX2Error("Two previews have one name; give each its own.")
        check_references(jobs, scale, reporter)
        self._models, self._jobs = replace(models, adapters=()), {job.name: _alone(job, reporter) for job in jobs}
        self._directory, self._run, self._scale = directory, run, scale
        self._residency, self._reporter, self._stop = residency, reporter, stop

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._jobs)

    def make(self, name: str, step: int, model: nn.Module) -> None:
        if self._models.component("transformer") is not model:
            raise LTX2Error("The previews' checkpoint is not the one in training; wire the same one to both.")
        residency = Holding(self._residency, model)
        clip = decode(self._latents(self._jobs[name], residency), self._models, residency=residency)[0]
        path = write_video(self._directory / "previews" / f"step-{step:06d}-{name}.mp4", clip.frames, clip.frame_rate, clip.waveform)
        self._tell(step, path, clip)

    def _latents(self, job: PreviewJob, residency: Residency) -> Latents:
        services = {"residency": residency, "reporter": self._reporter, "stop": self._stop}
        if job.reference is not None:
            return reference_to_video(self._models, job.settings, job.reference, job.positive, job.negative, job.given, scale=self._scale, **services)
        return make(self._models, job.settings, job.positive, job.negative, job.given, **services)

    def _tell(self, step: int, path: Path, clip: Clip) -> None:
        middle = Image.fromarray(clip.frames[len(clip.frames) // 2].numpy())
        place = list(self.names).index(path.stem.split("-", 2)[2]) + 1
        self._reporter.progress(Progress("preview", place, len(self.names), preview=middle))
        self._reporter.preview(PreviewMade(self._run, step, path.relative_to(self._directory).as_posix()))
