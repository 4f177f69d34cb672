"""All checks of a run, in the order in which its stages come."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..checkpoint.combined import Checkpoint
from ..checkpoint.header import CheckpointError
from ..data.memory import ScanMemory
from ..data.mixture import check_together
from ..data.scan import DatasetIndex, media_files, scan
from ..data.spec import DatasetSpec
from ..errors import LTX2Error
from ..memory.engine import MemorySettings
from ..models.vae_memory import VaeMemory
from ..text.source import TextEncoderSource
from ..train.settings import RunConfig
from . import captions, clips, models, settings, space
from .clips import Looked
from .finding import ERROR, INFO, WARNING, Finding, Preflight, named, of
from .space import Free


@dataclass(frozen=True)
class Subject:
    """What is checked; parts that are None are passed over. cache: where clips and captions are kept, None is in ``output``."""

    datasets: tuple[Looked, ...]
    config: RunConfig
    output: Path
    checkpoint: Checkpoint | None = None
    text_encoder: TextEncoderSource | None = None
    memory: MemorySettings | None = None
    vae: VaeMemory | None = None
    cache: Path | None = None


def look(spec: DatasetSpec, memory: Path) -> Looked:
    """Scan the folder, and keep what its files were found to hold.

    Raises:
        LTX2Error: no clip can be used.
    """
    return looked(scan(spec, None, memory), memory)


def looked(index: DatasetIndex, memory: Path) -> Looked:
    """A scanned dataset with what its files were found to hold."""
    paths = list(dict.fromkeys(Path(p) for c in index.clips for p in (c.path, c.sound) if p))
    with ScanMemory(memory) as remembered:
        found = remembered.probe_all(paths)
    return Looked(index, {str(p): f.info for p, f in zip(paths, found, strict=True) if f.info is not None})


def _dataset(dataset: Looked, config: RunConfig) -> Iterable[Finding]:
    index, train = dataset.index, config.train
    yield from clips.sizes(index, index.spec.batch_size or train.batch_size)
    yield from clips.dropped(index)
    yield from captions.captions(index)
    yield from clips.masks(index)
    yield from clips.partners(index)
    yield from clips.rates(dataset)
    yield from clips.sound(dataset, train.audio_weight, train.audio_only)
    hdr = sorted({Path(p).name for p, info in dataset.infos.items() if info.hdr})
    if hdr:
        text = f"HDR is tone mapped to a plain screen's brightness in {of(len(hdr), 'clip')}: {named(hdr)}."
        yield Finding(INFO, "hdr", text, "Grade them yourself if they look wrong.", tuple(hdr))


def check(subject: Subject, free: Free = Free()) -> Iterable[Finding]:
    """Findings about everything of ``subject``; nothing large is loaded."""
    yield from models.models(models.Opened(subject.checkpoint, subject.text_encoder))
    for dataset in subject.datasets:
        yield from _dataset(dataset, subject.config)
    found = [c for dataset in subject.datasets for c in dataset.index.clips]
    if not found:
        return
    yield from settings.training(subject.config, found)
    if subject.checkpoint is None:
        return
    try:
        load, size = space.load_and_size(subject.config, subject.checkpoint, [d.index for d in subject.datasets])
    except CheckpointError as error:
        yield Finding(ERROR, "checkpoint", str(error), "Give the path of the whole LTX-2 19B file.")
        return
    except LTX2Error as error:
        yield Finding(ERROR, "lora", str(error), "Correct the LoRA's targets.")
        return
    yield from space.disk(found, subject.checkpoint, subject.config, load, subject.output, subject.cache)
    others = {space.CLIPS: space.caching_bytes(found, subject.checkpoint, subject.vae or space.USUAL_VAE)}
    if subject.text_encoder is not None:
        others[space.CAPTIONS] = space.text_bytes(subject.text_encoder, subject.checkpoint)
    # Sound alone lies on the card plain and whole.
    wanted = MemorySettings() if subject.config.train.audio_only else subject.memory
    yield from space.memory(size, load, wanted, free, others)


def check_run(run, free: Free = Free(), memory: Path | None = None) -> Preflight:
    """Check a run file (``runfile.RunFile``).

    Args:
        memory: a file that remembers what was found in clips; a temporary one when None.
    """
    opened, findings = models.open_both(run.checkpoint, run.text_encoder)
    if run.cache_files is not None:
        findings.append(Finding(INFO, "dataset", "The run reads caches that are there already, so its clips are not looked at.", "Give datasets instead of caches to have them checked."))
    with tempfile.TemporaryDirectory() as scratch:
        remembered = memory or Path(scratch) / "scan.sqlite3"
        datasets = []
        if run.specs:
            try:
                findings += [Finding(WARNING, "datasets", text, "Give all of them one frame_rate.") for text in check_together(run.specs)]
            except LTX2Error as error:
                findings.append(Finding(ERROR, "datasets", str(error), "Correct the list of datasets."))
        for spec in run.specs:
            try:
                # Changes of scene are seen in decoded pictures alone, for which a person would wait.
                datasets.append(look(replace(spec, split_scenes=False), remembered))
                findings += clips.scenes(spec)
            except LTX2Error as error:
                findings += [Finding(ERROR, "dataset", str(error), "Correct the dataset's folder or its limits."), *_unusable(spec, remembered)]
        findings += _others(run, remembered)
        subject = Subject(tuple(datasets), run.config, Path(run.output), opened.checkpoint, opened.text_encoder, run.memory_settings, run.vae_memory, run.cache_folder)
        findings += [*check(subject, free), *settings.samples((*run.jobs, *run.preview_jobs))]
    return Preflight.of(findings)


def _others(run, memory: Path) -> Iterable[Finding]:
    """What the run needs beside the clips that it trains on, and does not find."""
    for role in ("validation_dataset", "references", "regularisation"):
        raw = getattr(run, role)
        if raw is None:
            continue
        try:
            yield from clips.dropped(scan(replace(DatasetSpec.from_dict(raw), split_scenes=False), None, memory))
        except LTX2Error as error:
            yield Finding(ERROR, role, f"{role}: {error}", "Correct its folder or its limits, or take it out of the run.")
    if run.adapter and not Path(run.adapter).is_file():
        yield Finding(ERROR, "adapter", f"The run begins with the adapter {run.adapter}, which is not there.", "Correct its path, or leave adapter out.")


def _unusable(spec: DatasetSpec, memory: Path) -> Sequence[Finding]:
    """Why the first files of a folder without a usable clip are left out."""
    try:
        files = media_files(spec)
    except LTX2Error:
        return ()
    with ScanMemory(memory) as remembered:
        found = remembered.probe_all(files)
    return tuple(Finding(ERROR, "dropped", f.reason, "Re-encode it, or take it out of the folder.", (p.name,)) for p, f in zip(files, found, strict=True) if f.info is None)[:20]
