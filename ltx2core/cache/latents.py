"""Latents of every clip, sound beside picture; the VAEs are on the device only here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoint.combined import Checkpoint
from ..data.clip import Clip
from ..data.read import read_pictures, read_sound
from ..distributed.world import ALONE, World, agreed, share
from ..errors import LTX2Error
from ..geometry import audio_latent_length, latent_frames
from ..media.audio import Waveform
from ..models.audio import SAMPLE_RATE, encode_audio
from ..models.build import load_audio_vae, load_video_vae
from ..models.vae_memory import VaeMemory, usual_memory
from ..models.video import encode_video, encode_working_bytes
from ..protocols import Interrupted, Progress, Reporter, Residency, StopSignal
from .ahead import AUDIO, CLIPS, VIDEO, WAITING, WRITING, Stages, read_ahead
from .claims import Claims, rounds
from .digests import file_digest
from .store import Store

KeyOf = Callable[[Clip], str]

# Clips that are smaller than the largest are encoded together within this, or within what the largest takes.
_BATCH_BYTES = 2 * 2**30
_VIDEO_CHANNELS = 128  # of every LTX-2 video latent


@dataclass(frozen=True)
class Encoders:
    video: nn.Module | None
    audio: nn.Module | None


@dataclass(frozen=True)
class Material:
    """One clip as its files hold it. pictures: uint8 [F, H, W, 3] on the CPU, None where sound is trained alone."""

    pictures: Tensor | None
    sound: Waveform | None


@dataclass(frozen=True)
class Outcome:
    """failed: key -> reason for clips that could not be read. made: clips encoded, without those another process did."""

    failed: dict[str, str]
    made: int


def read_clip(clip: Clip, sound: bool, pinned: bool) -> Material:
    """``pinned``: pictures in memory that a card can read by itself.

    Raises:
        LTX2Error: unreadable, or changed since the folder was scanned.
    """
    pictures = read_pictures(clip)
    return Material(pictures.pin_memory() if pinned and pictures is not None else pictures, read_sound(clip, SAMPLE_RATE) if sound else None)


def to_pixels(frames: Tensor) -> Tensor:
    """uint8 [B, F, H, W, 3] -> float32 [B, 3, F, H, W] in [-1, 1]."""
    return frames.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def _video_latents(clips: Sequence[Clip], materials: Sequence[Material], encoders: Encoders, device: torch.device, memory: VaeMemory) -> Tensor:
    """[B, 128, F', H', W']; where sound is trained alone, zeros of the sound's length, one cell a frame."""
    if materials[0].pictures is None:
        return torch.zeros(len(clips), _VIDEO_CHANNELS, latent_frames(clips[0].bucket.frames), 1, 1)
    if encoders.video is None:
        raise LTX2Error(f"{Path(clips[0].path).name} has a picture and no video VAE is loaded; load it.")
    dtype = next(encoders.video.parameters()).dtype
    # Bytes are carried, a quarter of what float32 numbers of them are.
    pixels = to_pixels(torch.stack([m.pictures.to(device, non_blocking=True) for m in materials]))
    return encode_video(encoders.video, pixels.to(dtype), memory)


def encode_clips(clips: Sequence[Clip], materials: Sequence[Material], encoders: Encoders, device: torch.device, memory: VaeMemory, stages: Stages) -> list[dict[str, Tensor]]:
    """Latents of clips of one bucket, the video VAE run as ``memory`` says, bfloat16 on the CPU: ``video`` [128, F', H', W'] and, of clips with sound, ``audio`` [8, T, 16]."""
    with stages.of(VIDEO):
        found = [{"video": latents} for latents in _video_latents(clips, materials, encoders, device, memory).to("cpu", torch.bfloat16)]
    for clip, material, latents in zip(clips, materials, found, strict=True):
        if material.sound is not None:
            with stages.of(AUDIO):
                samples, length = material.sound.samples[None].to(device), audio_latent_length(clip.bucket.frames, clip.frame_rate)
                latents["audio"] = encode_audio(encoders.audio, samples, length)[0].to("cpu", torch.bfloat16)
    return [{name: tensor.contiguous() for name, tensor in latents.items()} for latents in found]


def clips_together(clip: Clip, dtype: torch.dtype, memory: VaeMemory, budget: int) -> int:
    """How many clips of ``clip``'s bucket are encoded at once in ``budget`` bytes: as many as ``memory`` allows, at least one."""
    box = clip.bucket
    if not clip.has_video:
        return 1
    fits = (n for n in range(memory.clips_at_once, 1, -1) if encode_working_bytes(box.frames, box.height, box.width, dtype, memory, n) <= budget)
    return next(fits, 1)


def cache_latents(
    missing: Mapping[str, Clip],
    checkpoint: Checkpoint,
    store: Store,
    *,
    key_of: KeyOf,
    dtype: torch.dtype,
    residency: Residency,
    reporter: Reporter,
    stop: StopSignal,
    world: World = ALONE,
    vae: VaeMemory | None = None,
) -> Outcome:
    """Encode the clips of ``missing`` (key -> clip), each process of ``world`` its share; what they did together.

    Args:
        key_of: a clip's key by what its files hold now; one that changed while it was read is not kept.
        vae: how the video VAE saves memory; the usual way when None.

    Raises:
        Interrupted: a person asked to stop; every finished clip is kept.
    """
    done = Outcome({}, 0)
    with agreed(world):
        mine = share(missing, world)
        if mine:
            done = _encode_all(mine, checkpoint, store, key_of, dtype, residency, reporter, stop, vae or _usual(residency.device))
    parts = world.gather(done)
    return Outcome({key: reason for part in parts for key, reason in part.failed.items()}, sum(part.made for part in parts))


@dataclass
class _Work:
    """Encodes clips of one kind as they come, some at once."""

    encoders: Encoders
    device: torch.device
    memory: VaeMemory
    budget: int
    stages: Stages
    store: Store
    key_of: KeyOf
    group: list[tuple[str, Clip, Material]] = field(default_factory=list)

    def starts_anew(self, clip: Clip) -> bool:
        """Whether the group must be encoded before ``clip`` can come."""
        if not self.group:
            return False
        first = self.group[0][1]
        dtype = torch.float32 if self.encoders.video is None else next(self.encoders.video.parameters()).dtype
        return (first.bucket, first.has_video) != (clip.bucket, clip.has_video) or len(self.group) >= clips_together(first, dtype, self.memory, self.budget)

    def encode(self) -> Iterator[tuple[Clip, str | None]]:
        """(clip, why it could not be kept) of the group, which is empty afterwards."""
        group, self.group = self.group, []
        if not group:
            return
        found = encode_clips([c for _, c, _ in group], [m for _, _, m in group], self.encoders, self.device, self.memory, self.stages)
        for (key, clip, _), tensors in zip(group, found, strict=True):
            with self.stages.of(WRITING):
                name = Path(clip.path).name
                try:
                    if self.key_of(clip) != key:
                        raise LTX2Error(f"{name} changed while it was cached; cache again when it is complete.")
                except LTX2Error as error:
                    yield clip, str(error)
                    continue
                self.store.write("latents", key, tensors, {"source": name, "start": clip.start, "frame_rate": clip.frame_rate, **self._sound_file(clip)})
            yield clip, None

    def _sound_file(self, clip: Clip) -> dict[str, str]:
        """Where the sound itself is to be had, and by what it is known."""
        if not clip.has_audio or clip.silence:
            return {}
        path = Path(clip.sound or clip.path).absolute()
        return {"sound": path.as_posix(), "sound_digest": self.store.ledger.digest(path) if self.store.ledger else file_digest(path)}


def _usual(device: torch.device) -> VaeMemory:
    """On a processor, where it gains nothing, no clips together: a clip's numbers then hang on nothing but itself."""
    usual = usual_memory(device)
    return replace(usual, slicing=True) if device.type == "cpu" else usual


def _encode_all(missing: Mapping[str, Clip], checkpoint: Checkpoint, store: Store, key_of: KeyOf, dtype: torch.dtype, residency: Residency,
                reporter: Reporter, stop: StopSignal, memory: VaeMemory) -> Outcome:  # fmt: skip
    sound = any(clip.has_audio for clip in missing.values())
    boxes, budget = [clip.bucket for clip in missing.values() if clip.has_video], 0
    encoders = Encoders(load_video_vae(checkpoint, dtype=dtype) if boxes else None, load_audio_vae(checkpoint, dtype=torch.float32) if sound else None)
    with ExitStack() as held:
        held.enter_context(torch.inference_mode(False))
        held.enter_context(torch.no_grad())
        if encoders.video is not None:
            largest = max(boxes, key=lambda b: b.width * b.height * b.frames)
            budget = max(_BATCH_BYTES, encode_working_bytes(largest.frames, largest.height, largest.width, dtype, memory))
            held.enter_context(residency.use(encoders.video, budget))
        if encoders.audio is not None:
            held.enter_context(residency.use(encoders.audio))
        work = _Work(encoders, residency.device, memory, budget, Stages(), store, key_of)
        done = _encode_as_read(work, missing, reporter, stop)
    reporter.message(work.stages.told(done.made, CLIPS))
    for module in (encoders.video, encoders.audio):
        if module is not None:
            residency.release(module)
    return done


def _encode_as_read(work: _Work, missing: Mapping[str, Clip], reporter: Reporter, stop: StopSignal) -> Outcome:
    """Files are read and decoded by other threads meanwhile."""
    keys, done, failed = {id(clip): key for key, clip in missing.items()}, 0, {}

    def tell(clip: Clip, why: str | None) -> None:
        nonlocal done
        claims.release(keys[id(clip)])
        if why is not None:
            failed[keys[id(clip)]] = why
            reporter.message(f"{Path(clip.path).name} is left out: {why}", "warning")
        done += 1
        reporter.progress(Progress("latents", done, len(missing), Path(clip.path).name))

    def encode_group() -> None:
        for clip, why in work.encode():
            tell(clip, why)

    def check() -> None:
        if stop.requested():
            raise Interrupted(f"Stopped after {done} of {len(missing)} clips; queue again and it goes on from there.")

    def take(key: str, clip: Clip, read: Future[Material]) -> None:
        check()
        if work.starts_anew(clip):
            encode_group()
        try:
            with work.stages.of(WAITING):
                material = read.result()
        except LTX2Error as error:
            tell(clip, str(error))
        else:
            work.group.append((key, clip, material))

    sound, pinned = work.encoders.audio is not None, work.device.type == "cuda"
    with Claims(work.store.root) as claims:
        for items in rounds(missing, "latents", work.store, claims, check):
            with closing(read_ahead(items, lambda item: read_clip(item[1], sound, pinned))) as coming:
                for (key, clip), read in coming:
                    take(key, clip, read)
            encode_group()
    return Outcome(failed, done - len(failed))
