"""Sound alone: the audio branch without any picture, as sound-only training runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..checkpoint.adapter import Adapter
from ..errors import LTX2Error
from ..media.audio import Waveform, fit_length
from ..memory.layers import needs_streaming
from ..models.audio import OUTPUT_RATE, decode_audio_latents
from ..models.audio_branch import of_sound
from ..models.forward import Modality
from ..models.handle import Models
from ..models.latents import unpack_audio
from ..protocols import Interrupted, Progress, Reporter, Residency, StopSignal
from ..text.features import TextFeatures
from ..train.audio_only import denoise_audio
from .adapters import adapter_bytes, applied
from .conditions import audio_state
from .guidance import Guidance, combine
from .noise import make_noise
from .settings import SampleSettings
from .sigmas import schedule


def _transformer(models: Models, residency: Residency) -> nn.Module:
    """The whole one where it is loaded and fits the device, else a sixth of it: what sound alone goes through."""
    whole = models.loaded("transformer")
    return models.component("audio_branch") if whole is None or needs_streaming(whole, residency, 0) else whole


def _sound_part(adapters: Sequence[tuple[Adapter, float]]) -> list[tuple[Adapter, float]]:
    return [(replace(adapter, layers={m: layer for m, layer in adapter.layers.items() if of_sound(m)}), strength) for adapter, strength in adapters]


def text_to_sound(
    models: Models, settings: SampleSettings, positive: TextFeatures, negative: TextFeatures | None = None,
    *, residency: Residency, reporter: Reporter, stop: StopSignal,
) -> Tensor:  # fmt: skip
    """Audio latents [B, 8, T, 16] float32 on the CPU, of ``frames / frame_rate`` seconds. Euler; the scale is ``audio_cfg``.

    Raises:
        LTX2Error: guidance without a negative prompt, or guidance of a kind that needs a picture.
        Interrupted: a person asked to stop.
    """
    settings, messages = settings.snapped()
    for text in messages:
        reporter.message(text, "warning")
    guidance = settings.guidance()[1]
    if guidance.needs_isolated or guidance.needs_perturbed:
        raise LTX2Error("Sound alone takes CFG and rescaling only; set stg to 0 and modality to 1.")
    if guidance.needs_negative and negative is None:
        raise LTX2Error("Guidance other than 1 needs a negative prompt; wire one (it may be empty), or set the scale to 1.")
    transformer, adapters, device = _transformer(models, residency), _sound_part(models.adapters), residency.device
    state = audio_state(make_noise(settings)[1].to(device))
    sigmas = schedule(settings.schedule, settings.steps, settings.tokens).to(device)
    texts = [None if f is None else f.audio.to(device, models.dtype) for f in (positive, negative if guidance.needs_negative else None)]
    tokens = state.tokens
    with torch.no_grad(), residency.use(transformer, adapter_bytes(adapters, models.dtype)), applied(transformer, adapters, device=device, dtype=models.dtype):
        for i in range(len(sigmas) - 1):
            if stop.requested():
                raise Interrupted(f"Sampling stopped after {i} of {len(sigmas) - 1} steps.")
            x0 = _x0(transformer, tokens, sigmas[i], texts, state.coords, guidance)
            tokens = tokens + (tokens - x0) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
            reporter.progress(Progress("sample", i + 1, len(sigmas) - 1))
    return unpack_audio(tokens).cpu()


def _x0(transformer, tokens: Tensor, sigma: Tensor, texts: list[Tensor | None], coords: Tensor, guidance: Guidance) -> Tensor:
    batch = tokens.shape[0]
    predictions = [
        None if t is None else tokens - sigma * denoise_audio(transformer, Modality(tokens, sigma.expand(batch), coords, t.expand(batch, -1, -1))).float() for t in texts
    ]
    return combine(guidance, *predictions, None, None)


@torch.no_grad()
def decode_sound(models: Models, latents: Tensor, seconds: float, residency: Residency) -> list[Waveform]:
    """One sound a sample, ``seconds`` long, at the vocoder's rate."""
    audio_vae, vocoder = models.component("audio_vae"), models.component("vocoder")
    with residency.use(audio_vae), residency.use(vocoder):
        samples = decode_audio_latents(audio_vae, vocoder, latents.to(residency.device)).cpu()
    return [fit_length(Waveform(s, OUTPUT_RATE), seconds) for s in samples]
