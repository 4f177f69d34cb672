"""Disk and memory that a run will take, predicted from headers and sizes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..checkpoint.combined import Checkpoint
from ..checkpoint.shapes import transformer_shapes
from ..data.clip import Clip
from ..data.scan import DatasetIndex
from ..errors import LTX2Error
from ..geometry import audio_latent_length, video_tokens
from ..memory.engine import MemorySettings
from ..memory.plan import GIB, OPTIMIZER_BYTES, BaseSize, Load, Plan, choose, predict
from ..memory.load import load_of
from ..models.audio_branch import of_sound
from ..models.vae_bytes import encode_working_bytes
from ..models.vae_memory import ROLLED, VaeMemory
from ..train.retention import Retention
from ..train.settings import RunConfig, TrainSettings
from .finding import ERROR, INFO, WARNING, Finding

# Stages before training, and how they are said.
CLIPS, CAPTIONS = "clips", "captions"
_STAGES = {CLIPS: "encoding clips", CAPTIONS: "encoding captions"}
_TEXT_TOKENS = 1024
_BF16 = 2
_VIDEO_CHANNELS, _AUDIO_CELL = 128, 8 * 16
_SPARE = 2 * GIB  # that a disk should still have


@dataclass(frozen=True)
class Free:
    """Bytes that may be taken; None where it is not known. captured: whether steps can be captured on the card."""

    device: int | None = None
    host: int | None = None
    captured: bool = True


def cache_bytes(clips: Sequence[Clip], width: int) -> tuple[int, int]:
    """(captions, latents): captions once each, for picture and sound; latents in bf16."""
    captions = len({c.caption for c in clips} | {""}) * 2 * _TEXT_TOKENS * width * _BF16
    latents = 0
    for clip in clips:
        latents += video_tokens(clip.bucket.frames, clip.bucket.height, clip.bucket.width) * _VIDEO_CHANNELS * _BF16
        if clip.has_audio:
            latents += audio_latent_length(clip.bucket.frames, clip.frame_rate) * _AUDIO_CELL * _BF16
    return captions, latents


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def _most_states(train: TrainSettings) -> int:
    """That lie on the disk at once: one is written before another is let go."""
    saved = range(train.checkpoint_every, train.steps + 1, train.checkpoint_every) if train.checkpoint_every else ()
    kept = len(saved) - len(Retention(train.keep_checkpoints, train.keep_every).dropped(saved))
    return max(train.keep_checkpoints, kept) + 1


def disk(clips: Sequence[Clip], checkpoint: Checkpoint, run: RunConfig, load: Load, output: Path, cache: Path | None = None) -> Iterable[Finding]:
    """The cache, the kept states and the adapter, against what is free where they will lie. ``cache``: where that lies, None is in ``output``."""
    captions, latents = cache_bytes(clips, checkpoint.config.get("transformer", {}).get("caption_channels", 3840))
    values = load.saved or load.trained
    states = _most_states(run.train) * values * OPTIMIZER_BYTES[load.optimizer] + 2 * values
    free = shutil.disk_usage(_existing(output)).free
    if cache is None or _disk_of(cache) == _disk_of(output):
        text = (
            f"The run needs up to {(captions + latents + states) / GIB:.2f} GiB of disk in {output}: captions {captions / GIB:.2f}, latents {latents / GIB:.2f}, "
            f"states {states / GIB:.2f}; {free / GIB:.1f} GiB are free."
        )
        yield _room(captions + latents + states, free, text, "Put output on a larger disk, or use fewer clips or captions.")
        return
    there = shutil.disk_usage(_existing(cache)).free
    text = f"The cache needs up to {(captions + latents) / GIB:.2f} GiB of disk in {cache}: captions {captions / GIB:.2f}, latents {latents / GIB:.2f}; {there / GIB:.1f} GiB are free."
    yield _room(captions + latents, there, text, "Put cache_dir on a larger disk, or use fewer clips or captions.")
    text = f"The states need up to {states / GIB:.2f} GiB of disk in {output}; {free / GIB:.1f} GiB are free."
    yield _room(states, free, text, "Put output on a larger disk, or keep fewer states (keep_checkpoints).")


def _disk_of(path: Path) -> int:
    return _existing(path).stat().st_dev


def _room(needed: float, free: int, text: str, advice: str) -> Finding:
    if needed > free:
        return Finding(ERROR, "disk", text, advice)
    if needed + _SPARE > free:
        return Finding(WARNING, "disk", text, "Free some space first; the disk would be nearly full.")
    return Finding(INFO, "disk", text, "Fewer kept states (keep_checkpoints) or captions need less.")


def caching_bytes(clips: Sequence[Clip], checkpoint: Checkpoint, vae: VaeMemory) -> int:
    """Device bytes of encoding the largest clip, weights included; 0 without pictures."""
    import torch

    boxes = [c.bucket for c in clips if c.has_video]
    if not boxes:
        return 0
    largest = max(boxes, key=lambda b: b.width * b.height * b.frames)
    weights = sum(t.numel for t in checkpoint.tensors("video_vae").values()) * _BF16
    return weights + encode_working_bytes(largest.frames, largest.height, largest.width, torch.bfloat16, vae)


def text_bytes(text_encoder, checkpoint: Checkpoint) -> int:
    """Device bytes of Gemma3 and the connectors in bf16, where 8-bit and 4-bit files are widened too."""
    gemma = sum(_BF16 * t.numel for h in text_encoder.weights for k, t in h.tensors.items() if text_encoder.keymap.owns(k))
    return gemma + _BF16 * sum(t.numel for t in checkpoint.tensors("connectors").values())


def load_and_size(run: RunConfig, checkpoint: Checkpoint, indexes: Sequence[DatasetIndex]) -> tuple[Load, BaseSize]:
    """What the run asks of a card, from headers alone.

    Raises:
        CheckpointError: layers are missing in the file.
        LTX2Error: a target that is not among the layers.
    """
    shapes = transformer_shapes(checkpoint)
    shapes = {name: shape for name, shape in shapes.items() if of_sound(name)} if run.train.audio_only else shapes
    sizes = [(c.bucket.frames, c.bucket.height, c.bucket.width, c.frame_rate, index.spec.batch_size) for index in indexes for c in index.clips]
    return load_of(run, shapes, sizes, any(c.has_audio for index in indexes for c in index.clips)), BaseSize.of_shapes(shapes)


def _training(size: BaseSize, load: Load, wanted: MemorySettings | None, free: Free) -> Plan:
    """That of the settings that are ``wanted``, else one chosen by what is free."""
    if wanted is not None:
        return predict(size, load, replace(wanted, captured=wanted.captured and free.captured))
    if free.device is None:
        return predict(size, load, MemorySettings())
    return choose(size, load, free.device, free.host if free.host is not None else 2**62, free.captured)


def memory(size: BaseSize, load: Load, wanted: MemorySettings | None, free: Free, others: dict[str, int]) -> Iterable[Finding]:
    """The training step and the stages before it (``others``: name -> device bytes) against what is free."""
    try:
        plan = _training(size, load, wanted, free)
    except LTX2Error as error:
        yield Finding(ERROR, "memory", str(error), "Lower width and height first; then frames to 49 or 33; then stream all blocks in Memory Settings.")
        return
    stages = "; ".join(f"{_STAGES[name]} {bytes_ / GIB:.1f} GiB" for name, bytes_ in others.items() if bytes_)
    yield Finding(INFO, "memory", f"Predicted on the card: training {plan.total / GIB:.1f} GiB ({plan}); {stages}. They are never on it together.", "Stream more blocks, or lower width and height, to need less.")
    host = max(plan.host, *others.values()) / GIB
    yield Finding(INFO, "host_memory", f"Predicted host memory: {host:.1f} GiB at most, one copy of the largest model; {plan.host / GIB:.1f} GiB page-locked in training.", "Fewer streamed blocks or a smaller precision need less.")
    if free.device is None:
        return
    peak = max([plan.total, *others.values()])
    if plan.total > free.device:
        text = f"Training needs {plan.total / GIB:.1f} GiB on the card and {free.device / GIB:.1f} are free."
        yield Finding(ERROR, "memory", text, "Lower width and height first; then frames to 49 or 33; then stream more blocks.")
    elif peak > free.device:
        name = max(others, key=others.get)
        text = f"The stage {_STAGES[name]} needs {others[name] / GIB:.1f} GiB at once and {free.device / GIB:.1f} are free on the card."
        yield Finding(WARNING, "memory", text, "Take an fp8 file of the text encoder, or smaller clips.")
    if free.host is not None and plan.host > free.host:
        text = f"Streaming needs {plan.host / GIB:.1f} GiB of host memory and {free.host / GIB:.1f} are free."
        yield Finding(ERROR, "host_memory", text, "Use int8 precision, or stream fewer blocks.")


USUAL_VAE = ROLLED
