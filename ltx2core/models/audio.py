"""Sound to normalised latents and back."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from .latents import pack_audio, unpack_audio
from .mel import LTX2_MEL, log_mel

SAMPLE_RATE = LTX2_MEL.rate
OUTPUT_RATE = 24000
_MEL_PER_LATENT = 4


def normalise(audio_vae: nn.Module, latents: Tensor) -> Tensor:
    """[B, 8, T, 16]; the statistics are kept for packed channels (channel-major 8x16 = 128)."""
    mean, std = audio_vae.latents_mean.to(latents), audio_vae.latents_std.to(latents)
    return unpack_audio((pack_audio(latents) - mean) / std, latents.shape[1])


def denormalise(audio_vae: nn.Module, latents: Tensor) -> Tensor:
    mean, std = audio_vae.latents_mean.to(latents), audio_vae.latents_std.to(latents)
    return unpack_audio(pack_audio(latents) * std + mean, latents.shape[1])


def encode_audio(audio_vae: nn.Module, samples: Tensor, length: int) -> Tensor:
    """Normalised latents, the mean of the posterior.

    Args:
        samples: float32 [B, 2, S] at 16 kHz.
        length: latent frames wanted (25 a second, ``geometry.audio_latent_length``); the sound is cut or padded with
            silence to give exactly these.

    Returns:
        [B, 8, length, 16] in the VAE's dtype.
    """
    # n latent frames come of 4n - 3 mel frames (the encoder is causal), and m mel frames of (m - 1) * hop samples.
    # The reflection at the ends of the STFT needs more than half a window.
    wanted = max((_MEL_PER_LATENT * length - 1) * LTX2_MEL.hop, LTX2_MEL.n_fft)
    samples = functional.pad(samples[..., :wanted], (0, max(0, wanted - samples.shape[-1])))
    mel = log_mel(samples).to(next(audio_vae.parameters()).dtype)
    latents = audio_vae.encode(mel, return_dict=False)[0].mode()[:, :, :length]
    return normalise(audio_vae, latents)


def decode_audio_latents(audio_vae: nn.Module, vocoder: nn.Module, latents: Tensor) -> Tensor:
    """Waveform float32 [B, 2, S] at 24 kHz of normalised latents [B, 8, T, 16]."""
    dtype = next(audio_vae.parameters()).dtype
    mel = audio_vae.decode(denormalise(audio_vae, latents.to(dtype)), return_dict=False)[0]
    return vocoder(mel.to(next(vocoder.parameters()).dtype)).float()
