"""Previews as one safetensors file: what a canvas hands to the processes beside the job."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import LTX2Error
from ..files import atomic_path
from ..media.audio import Waveform
from ..sample.reference import Reference
from ..sample.settings import SampleSettings
from ..strict import to_plain
from ..text.features import TextFeatures
from ..train.preview_clips import PreviewJob

_ENTRY = "previews"


def _tensors(place: int, job: PreviewJob) -> dict[str, Tensor]:
    found = {f"{place}.positive.video": job.positive.video, f"{place}.positive.audio": job.positive.audio}
    if job.negative is not None:
        found |= {f"{place}.negative.video": job.negative.video, f"{place}.negative.audio": job.negative.audio}
    if job.image is not None:
        found[f"{place}.image"] = job.image
    if job.sound is not None:
        found[f"{place}.sound"] = job.sound.samples
    if job.reference is not None:
        found[f"{place}.reference"] = job.reference.frames
    # Two prompts may be the same features, and a file holds each tensor once.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in found.items()}


def save_previews(path: Path, jobs: Sequence[PreviewJob]) -> Path:
    """Raises LTX2Error when the disk is full."""
    tensors = {name: tensor for place, job in enumerate(jobs) for name, tensor in _tensors(place, job).items()}
    told = [
        {"name": job.name, "settings": to_plain(job.settings), "rate": None if job.sound is None else job.sound.rate,
         "reference_strength": None if job.reference is None else job.reference.strength}
        for job in jobs
    ]  # fmt: skip
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={_ENTRY: json.dumps(told)})
    return path


def _job(place: int, told: Mapping, tensors: Mapping[str, Tensor]) -> PreviewJob:
    def features(kind: str) -> TextFeatures | None:
        name = f"{place}.{kind}"
        return TextFeatures(tensors[f"{name}.video"], tensors[f"{name}.audio"]) if f"{name}.video" in tensors else None

    sound, frames = tensors.get(f"{place}.sound"), tensors.get(f"{place}.reference")
    return PreviewJob(
        told["name"], features("positive"), features("negative"), SampleSettings.from_dict(told["settings"]), tensors.get(f"{place}.image"),
        None if sound is None else Waveform(sound, told["rate"]), None if frames is None else Reference(frames, told["reference_strength"]),
    )  # fmt: skip


def load_previews(path: Path) -> tuple[PreviewJob, ...]:
    """What :func:`save_previews` wrote.

    Raises:
        LTX2Error: not such a file.
    """
    try:
        with safe_open(path, "pt") as file:
            told, tensors = json.loads(file.metadata()[_ENTRY]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return tuple(_job(place, one, tensors) for place, one in enumerate(told))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise LTX2Error(f"The previews {path} cannot be read ({error}); start the training again.") from error
