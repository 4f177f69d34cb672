"""Text, picture or sound to video."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import LTX2Error
from ..media.audio import Waveform, fit_length, resample
from ..media.video import cover
from ..models.audio import SAMPLE_RATE, encode_audio
from ..models.handle import Models
from ..models.vae_memory import usual_memory
from ..models.video import encode_video, encode_working_bytes
from ..protocols import Reporter, Residency, StopSignal
from ..text.features import TextFeatures
from .adapters import applied
from .conditions import Keyframe, State, audio_state, video_state
from .guidance import warnings
from .loop import Denoiser, Latents, run_loop, to_latents
from .noise import make_noise
from .settings import SampleSettings
from .sigmas import schedule

# Bytes that one token needs beside the weights in a forward pass of the 19B (bf16, the feed-forward's 4 x 4096 wide).
_BYTES_PER_TOKEN = 8 * 4 * 4096


def _features(features: TextFeatures, models: Models, device: torch.device) -> TextFeatures:
    return TextFeatures(features.video.to(device, models.dtype), features.audio.to(device, models.dtype))


def _run(
    models: Models, settings: SampleSettings, positive: TextFeatures, negative: TextFeatures | None, video: State, audio: State,
    *, residency: Residency, reporter: Reporter, stop: StopSignal, sound: Waveform | None = None,
) -> Latents:  # fmt: skip
    for text in warnings(settings.guidance()[0], settings.schedule == "distilled"):
        reporter.message(text, "warning")
    if negative is None and any(g.needs_negative for g in settings.guidance()):
        raise LTX2Error("Guidance other than 1 needs a negative prompt; wire one (it may be empty), or set both scales to 1.")
    transformer, device = models.component("transformer"), residency.device
    guidance = settings.guidance()
    blocks = (min(settings.stg_block, len(transformer.transformer_blocks) - 1),)
    with torch.no_grad(), residency.use(transformer, settings.tokens * settings.batch * _BYTES_PER_TOKEN), applied(transformer, models.adapters, device=device, dtype=models.dtype):
        denoiser = Denoiser(
            transformer, _features(positive, models, device), None if negative is None else _features(negative, models, device),
            *guidance, blocks, settings.av_cross_timestep,
        )  # fmt: skip
        sigmas = schedule(settings.schedule, settings.steps, settings.tokens)
        video, audio = run_loop(denoiser, video, audio, sigmas, sampler=settings.sampler, reporter=reporter, stop=stop)
    latents = to_latents(settings, video, audio, sound)
    return Latents(latents.video.cpu(), latents.audio.cpu(), latents.frame_rate, latents.sound)


def _snapped(settings: SampleSettings, reporter: Reporter) -> SampleSettings:
    settings, messages = settings.snapped()
    for text in messages:
        reporter.message(text, "warning")
    return settings


def _noise(settings: SampleSettings, device: torch.device) -> tuple[Tensor, Tensor]:
    return tuple(n.to(device) for n in make_noise(settings))


def encode_pictures(models: Models, frames: Tensor, settings: SampleSettings, residency: Residency) -> Tensor:
    """Latents [1, 128, F', H', W'] float32 of uint8 [F, H, W, 3] of any size: covered and cropped to the settings' size."""
    size = (settings.width, settings.height)
    fitted = [torch.from_numpy(np.array(cover(Image.fromarray(f.numpy()), size))) for f in frames.cpu()]
    pixels = torch.stack(fitted).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    vae, memory = models.component("video_vae"), usual_memory(residency.device)
    with torch.no_grad(), residency.use(vae, encode_working_bytes(len(fitted), size[1], size[0], models.dtype, memory)):
        return encode_video(vae, pixels.to(residency.device), memory).float()


def encode_sound(models: Models, sound: Waveform, settings: SampleSettings, residency: Residency) -> Tensor:
    """Latents [1, 8, T, 16] float32 of the first seconds of ``sound``, as long as the clip."""
    samples = fit_length(resample(sound, SAMPLE_RATE), settings.frames / settings.frame_rate).samples[None]
    vae = models.component("audio_vae")
    with torch.no_grad(), residency.use(vae):
        return encode_audio(vae, samples.to(residency.device), settings.audio_length).float()


def text_to_video(models: Models, settings: SampleSettings, positive: TextFeatures, negative: TextFeatures | None = None, **services) -> Latents:
    """Video and sound of a prompt. ``services``: residency, reporter, stop.

    Raises:
        LTX2Error: sizes that would become 0, an adapter that does not fit.
        Interrupted: a person asked to stop.
    """
    settings = _snapped(settings, services["reporter"])
    noise, audio_noise = _noise(settings, services["residency"].device)
    return _run(models, settings, positive, negative, video_state(settings, noise), audio_state(audio_noise), **services)


def image_to_video(
    models: Models, settings: SampleSettings, image: Tensor, positive: TextFeatures, negative: TextFeatures | None = None, *, strength: float = 1.0, **services
) -> Latents:
    """The same, beginning with ``image``, uint8 [1, H, W, 3] of any size; ``strength`` 1 keeps it exactly."""
    settings = _snapped(settings, services["reporter"])
    noise, audio_noise = _noise(settings, services["residency"].device)
    first = Keyframe(encode_pictures(models, image[:1], settings, services["residency"]), 0, strength)
    return _run(models, settings, positive, negative, video_state(settings, noise, (first,)), audio_state(audio_noise), **services)


def sound_to_video(models: Models, settings: SampleSettings, sound: Waveform, positive: TextFeatures, negative: TextFeatures | None = None, **services) -> Latents:
    """A video for ``sound``, which is held clean at sigma 0 and is the result's own sound."""
    settings = _snapped(settings, services["reporter"])
    if sound.seconds < settings.frames / settings.frame_rate:
        services["reporter"].message(f"The sound lasts {sound.seconds:.2f} s, the video {settings.frames / settings.frame_rate:.2f} s; silence follows it.", "warning")
    noise, audio_noise = _noise(settings, services["residency"].device)
    held = encode_sound(models, sound, settings, services["residency"])
    return _run(models, settings, positive, negative, video_state(settings, noise), audio_state(audio_noise, held), sound=sound, **services)
