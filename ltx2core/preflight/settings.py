"""Settings that are known to disappoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..data.clip import Clip
from ..errors import LTX2Error
from ..hub import find_model, is_hub_name
from ..sample.guidance import warnings
from ..sample.settings import SampleSettings
from ..train.crepa import CrepaSettings
from ..train.settings import RunConfig
from .finding import ERROR, INFO, WARNING, Finding, named, of

_FEWEST, _MOST_PASSES = 5, 500


def training(run: RunConfig, clips: Sequence[Clip]) -> Iterable[Finding]:
    train = run.train
    passes = train.steps * train.batch_size * train.accumulation / max(1, len(clips))
    often = f"{passes:.1f}" if passes < 10 else f"{passes:.0f}"
    yield Finding(INFO, "steps", f"{train.steps} steps of {train.batch_size * train.accumulation} samples: each of {len(clips)} samples is seen about {often} times.", "Change steps for another number.")
    if len(clips) < _FEWEST:
        yield Finding(WARNING, "steps", f"Only {len(clips)} samples are trained; they will be learned by heart.", "Add clips, or take several windows of each (windows all).")
    elif passes > _MOST_PASSES:
        yield Finding(WARNING, "steps", f"Each sample is seen {passes:.0f} times, so that they are learned by heart.", "Train fewer steps, or add clips.")
    if passes < 1:
        yield Finding(WARNING, "steps", "The run ends before every sample was seen once.", "Train more steps.")
    if train.optimizer == "adamw_bf16" and train.dtype == "float32":
        yield Finding(ERROR, "optimizer", "The optimizer adamw_bf16 needs an adapter in bf16, and dtype is float32.", "Set dtype to bf16, or optimizer to adamw.")
    yield from _sound_alone(run, clips)
    if train.crepa is not None and not train.crepa.own_features and not train.audio_only:
        yield from _teacher(train.crepa)


def _sound_alone(run: RunConfig, clips: Sequence[Clip]) -> Iterable[Finding]:
    """Sound without picture in a run that trains pictures; the other way round is told dataset by dataset."""
    bare = sorted({Path(c.path).name for c in clips if not c.has_video})
    if not bare or run.train.audio_only:
        return
    text = f"{of(len(bare), 'file')} {'is' if len(bare) == 1 else 'are'} sound without picture, which a run with audio_only off does not train: {named(bare)}."
    advice = "Switch audio_only on." if all(not c.has_video for c in clips) else "Train the sounds in a run of their own, with audio_only on."
    yield Finding(ERROR, "sound", text, advice, tuple(bare))


def _teacher(crepa: CrepaSettings) -> Iterable[Finding]:
    """CREPA's encoder, which lies in a folder or in the hub's cache, or may be downloaded into that."""
    advice = "Give the folder of a DINOv2, or switch CREPA off."
    if not is_hub_name(crepa.encoder) or Path(crepa.encoder).is_dir():
        if not (Path(crepa.encoder).expanduser() / "config.json").is_file():
            yield Finding(ERROR, "crepa", f"CREPA's encoder folder {crepa.encoder!r} holds no config.json.", advice)
        return
    try:
        find_model(crepa.encoder)
    except LTX2Error as error:
        if crepa.allow_download:
            yield Finding(INFO, "crepa", f"CREPA's encoder {crepa.encoder} will be downloaded from the hub.", "Give its folder if it shall not be.")
        else:
            yield Finding(ERROR, "crepa", str(error), advice)


def samples(jobs: Iterable) -> Iterable[Finding]:
    """jobs: those of a run file."""
    for job in jobs:
        try:
            settings, messages = SampleSettings.from_dict(job.settings).snapped()
        except LTX2Error as error:
            yield Finding(ERROR, "samples", f"The sample {job.name}: {error}", "Correct its settings.")
            continue
        for message in messages:
            yield Finding(INFO, "samples", f"The sample {job.name}: {message}", "Nothing has to be changed; give the snapped value to silence this.")
        for warning in warnings(settings.guidance()[0], settings.schedule == "distilled"):
            yield Finding(WARNING, "samples", f"The sample {job.name}: {warning}", "Use a guidance of 3 to 5.")
        for kind in ("image", "sound", "reference"):
            path = getattr(job, kind)
            if path and not Path(path).is_file():
                yield Finding(ERROR, "samples", f"The sample {job.name} needs the {kind} {path}, which is not there.", "Correct its path.")
