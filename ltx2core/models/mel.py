"""Waveform to the log-mel spectrogram that the audio VAE reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

# log of silence would be -inf; the official processor clamps here.
_FLOOR = 1e-5


@dataclass(frozen=True)
class MelSettings:
    """How the audio VAE's input was made; the family 2.0 (header: ``audio_vae.preprocessing``)."""

    rate: int = 16000
    n_fft: int = 1024
    hop: int = 160
    bins: int = 64
    low: float = 0.0
    high: float = 8000.0


LTX2_MEL = MelSettings()


@lru_cache(maxsize=4)
def _filters(settings: MelSettings) -> Tensor:
    from transformers.audio_utils import mel_filter_bank  # slow to import, needed only here

    bank = mel_filter_bank(
        num_frequency_bins=settings.n_fft // 2 + 1,
        num_mel_filters=settings.bins,
        min_frequency=settings.low,
        max_frequency=settings.high,
        sampling_rate=settings.rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(bank).float()


def log_mel(samples: Tensor, settings: MelSettings = LTX2_MEL) -> Tensor:
    """log(max(mel, 1e-5)) of the magnitude spectrum, Hann window, centred with reflection.

    Args:
        samples: float32 [B, C, S] at ``settings.rate``.

    Returns:
        float32 [B, C, S // hop + 1, bins].
    """
    batch, channels, _ = samples.shape
    window = torch.hann_window(settings.n_fft, device=samples.device)
    flat = samples.float().flatten(0, 1)
    spectrum = torch.stft(flat, settings.n_fft, settings.hop, window=window, center=True, pad_mode="reflect", return_complex=True).abs()
    mel = torch.einsum("bft,fm->btm", spectrum, _filters(settings).to(samples.device))
    return mel.clamp(min=_FLOOR).log().unflatten(0, (batch, channels))
