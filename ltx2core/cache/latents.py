"""Latents of every clip, sound beside picture; the VAEs are on the device only here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoint.combined import Checkpoint
from ..data.clip import Clip
from ..data.read import read_pictures, read_sound
from ..distributed.world import ALONE, World, agreed, share
from ..errors import LTX2Error
from ..geometry import audio_latent_length, latent_frames
from ..models.audio import SAMPLE_RATE, encode_audio
from ..models.build import load_audio_vae, load_video_vae
from ..models.vae_memory import VaeMemory, usual_memory
from ..models.video import encode_video, encode_working_bytes
from ..protocols import Interrupted, Progress, Reporter, Residency, StopSignal
from .store import Store

KeyOf = Callable[[Clip], str]

_VIDEO_CHANNELS = 128  # of every LTX-2 video latent


@dataclass(frozen=True)
class Encoders:
    video: nn.Module | None
    audio: nn.Module | None


def to_pixels(frames: Tensor) -> Tensor:
    """uint8 [F, H, W, 3] -> float32 [1, 3, F, H, W] in [-1, 1]."""
    return frames.permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def _video_latents(clip: Clip, encoders: Encoders, device: torch.device, memory: VaeMemory) -> Tensor:
    """[128, F', H', W']; where sound is trained alone, zeros of the sound's length, one cell a frame."""
    pixels = read_pictures(clip)
    if pixels is None:
        return torch.zeros(_VIDEO_CHANNELS, latent_frames(clip.bucket.frames), 1, 1)
    if encoders.video is None:
        raise LTX2Error(f"{Path(clip.path).name} has a picture and no video VAE is loaded; load it.")
    dtype = next(encoders.video.parameters()).dtype
    return encode_video(encoders.video, to_pixels(pixels).to(device, dtype), memory)[0]


def encode_clip(clip: Clip, encoders: Encoders, device: torch.device, memory: VaeMemory | None = None) -> dict[str, Tensor]:
    """One clip's latents, the video VAE run as ``memory`` says, bfloat16 on the CPU: ``video`` [128, F', H', W'] and, when it has sound, ``audio`` [8, T, 16]."""
    latents = {"video": _video_latents(clip, encoders, device, memory or usual_memory(device))}
    waveform = read_sound(clip, SAMPLE_RATE) if encoders.audio is not None else None
    if waveform is not None:
        samples = waveform.samples[None].to(device)
        latents["audio"] = encode_audio(encoders.audio, samples, audio_latent_length(clip.bucket.frames, clip.frame_rate))[0]
    return {name: tensor.to("cpu", torch.bfloat16) for name, tensor in latents.items()}


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
) -> dict[str, str]:
    """Encode the clips of ``missing`` (key -> clip), each process of ``world`` its share. Returns key -> reason for clips that could not be read.

    Args:
        key_of: a clip's key by what its files hold now; one that changed while it was read is not kept.
        vae: how the video VAE saves memory; the usual way when None.

    Raises:
        Interrupted: a person asked to stop; every finished clip is kept.
    """
    failed: dict[str, str] = {}
    with agreed(world):
        mine = share(missing, world)
        if mine:
            _encode_all(mine, failed, checkpoint, store, key_of, dtype, residency, reporter, stop, vae or usual_memory(residency.device))
    return {key: reason for part in world.gather(failed) for key, reason in part.items()}


def _encode_all(missing: Mapping[str, Clip], failed: dict[str, str], checkpoint: Checkpoint, store: Store, key_of: KeyOf, dtype: torch.dtype, residency: Residency,
                reporter: Reporter, stop: StopSignal, memory: VaeMemory) -> None:  # fmt: skip
    sound = any(clip.has_audio for clip in missing.values())
    boxes = [clip.bucket for clip in missing.values() if clip.has_video]
    encoders = Encoders(load_video_vae(checkpoint, dtype=dtype) if boxes else None, load_audio_vae(checkpoint, dtype=torch.float32) if sound else None)
    with ExitStack() as held:
        held.enter_context(torch.inference_mode(False))
        held.enter_context(torch.no_grad())
        if encoders.video is not None:
            largest = max(boxes, key=lambda b: b.width * b.height * b.frames)
            working = encode_working_bytes(largest.frames, largest.height, largest.width, dtype, memory)
            held.enter_context(residency.use(encoders.video, working))
        if encoders.audio is not None:
            held.enter_context(residency.use(encoders.audio))
        for done, (key, clip) in enumerate(missing.items()):
            if stop.requested():
                raise Interrupted(f"Stopped after {done} of {len(missing)} clips; queue again and it goes on from there.")
            try:
                tensors = encode_clip(clip, encoders, residency.device, memory)
                if key_of(clip) != key:
                    raise LTX2Error(f"{Path(clip.path).name} changed while it was cached; cache again when it is complete.")
            except LTX2Error as error:
                failed[key] = str(error)
                reporter.message(f"{Path(clip.path).name} is left out: {error}", "warning")
            else:
                info = {"source": Path(clip.path).name, "start": clip.start, "frame_rate": clip.frame_rate}
                store.write("latents", key, tensors, info)
            reporter.progress(Progress("latents", done + 1, len(missing), Path(clip.path).name))
    for module in (encoders.video, encoders.audio):
        if module is not None:
            residency.release(module)
