"""Log-mel, audio VAE and vocoder: lengths, normalisation, and a spectrogram against the definition."""

import math

import numpy as np
import pytest
import torch

from ltx2core.geometry import audio_latent_length
from ltx2core.models.audio import OUTPUT_RATE, SAMPLE_RATE, decode_audio_latents, denormalise, encode_audio, normalise
from ltx2core.models.mel import LTX2_MEL, MelSettings, log_mel


def tone(hertz, seconds=1.0, amplitude=0.5):
    t = torch.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (amplitude * torch.sin(2 * torch.pi * hertz * t)).expand(1, 2, -1)


def slaney_mel(hertz):
    """Slaney's Auditory Toolbox: linear to 1 kHz (15 mel), then 27 steps to 6.4 kHz."""
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def slaney_hertz(mel):
    return 200 * mel / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def mel_by_definition(samples, frame, settings=LTX2_MEL):
    """One frame in float64: reflect, Hann, discrete Fourier sum, triangles of unit area."""
    half = settings.n_fft // 2
    padded = np.pad(samples.double().numpy(), half, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(settings.n_fft) / settings.n_fft)
    piece = padded[frame * settings.hop :][: settings.n_fft] * window
    bins = np.arange(half + 1)
    magnitude = np.abs(np.exp(-2j * np.pi * np.outer(bins, np.arange(settings.n_fft)) / settings.n_fft) @ piece)
    edges = [slaney_hertz(m) for m in np.linspace(slaney_mel(settings.low), slaney_mel(settings.high), settings.bins + 2)]
    frequency = bins * settings.rate / settings.n_fft
    mel = []
    for low, middle, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        triangle = np.maximum(0, np.minimum((frequency - low) / (middle - low), (high - frequency) / (high - middle)))
        mel.append((triangle * 2 / (high - low)) @ magnitude)
    return np.log(np.maximum(mel, 1e-5))


@pytest.mark.parametrize("settings", [LTX2_MEL, MelSettings(rate=24000, n_fft=512, hop=120, bins=20, low=50.0, high=12000.0)])
@pytest.mark.parametrize("frame", [0, 3, 7])
def test_log_mel_is_its_definition(frame, settings):
    samples = torch.randn(2000, generator=torch.Generator().manual_seed(0)) * 0.1
    mel = log_mel(samples[None, None], settings)
    assert mel.shape == (1, 1, 2000 // settings.hop + 1, settings.bins)
    np.testing.assert_allclose(mel[0, 0, frame].numpy(), mel_by_definition(samples, frame, settings), atol=2e-4)


def test_silence_is_the_floor_and_channels_stay_apart():
    samples = torch.stack([tone(440)[0, 0], torch.zeros(SAMPLE_RATE)])[None]
    mel = log_mel(samples)
    torch.testing.assert_close(mel[0, 1], torch.full((101, 64), math.log(1e-5)))
    assert mel[0, 0].max() > 0
    torch.testing.assert_close(mel[:, :1], log_mel(samples[:, :1]))


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 5000.0])
def test_a_tone_is_loudest_in_its_own_band(hertz):
    edges = [slaney_hertz(m) for m in np.linspace(0, slaney_mel(8000.0), 66)]
    loudest = log_mel(tone(hertz))[0, 0, 50].argmax().item()
    assert edges[loudest] <= hertz <= edges[loudest + 2]


@pytest.fixture(scope="module")
def audio_vae(tiny_component):
    """With statistics that are not neutral, all different: a wrong order of the 128 shows."""
    vae = tiny_component("audio_vae")
    kept = vae.latents_mean.clone(), vae.latents_std.clone()
    vae.latents_mean.copy_(torch.linspace(-1, 1, 128))
    vae.latents_std.copy_(torch.linspace(0.5, 3, 128))
    yield vae
    vae.latents_mean.copy_(kept[0])
    vae.latents_std.copy_(kept[1])


def test_statistics_belong_to_channel_and_mel_bin(audio_vae):
    latents = torch.randn(2, 8, 5, 16, generator=torch.Generator().manual_seed(0))
    normal = normalise(audio_vae, latents)
    for channel, time, bin_ in ((0, 0, 0), (3, 4, 7), (7, 2, 15)):
        i = channel * 16 + bin_
        expected = (latents[1, channel, time, bin_] - (-1 + 2 * i / 127)) / (0.5 + 2.5 * i / 127)
        torch.testing.assert_close(normal[1, channel, time, bin_], expected)
    torch.testing.assert_close(denormalise(audio_vae, normal), latents)


@torch.no_grad()
@pytest.mark.parametrize(("frames", "rate"), [(1, 25.0), (9, 24.0), (25, 25.0), (33, 30.0)])
def test_encoded_length_is_that_of_the_video(frames, rate, audio_vae):
    length = audio_latent_length(frames, rate)
    assert encode_audio(audio_vae, tone(300, 0.8), length).shape == (1, 8, length, 16)


@torch.no_grad()
def test_sound_after_the_wanted_length_is_not_heard_and_missing_sound_is_silence(audio_vae):
    sound = tone(300, 1.0) + tone(1500, 1.0)
    loud = sound.clone()
    loud[..., 16000 * 3 // 4 :] = 0.9
    torch.testing.assert_close(encode_audio(audio_vae, sound, 12), encode_audio(audio_vae, loud, 12))
    padded = torch.nn.functional.pad(sound, (0, 32000))
    torch.testing.assert_close(encode_audio(audio_vae, sound, 40), encode_audio(audio_vae, padded, 40))


@torch.no_grad()
def test_the_sound_of_a_moment_is_in_its_latent(audio_vae):
    """A click at 0.5 s changes the latents from 25 * 0.5 on, less the half window that the spectrogram is wide."""
    quiet = torch.zeros(1, 2, 16000)
    click = quiet.clone()
    click[..., 8000:8100] = 0.8
    changed = (encode_audio(audio_vae, click, 25) - encode_audio(audio_vae, quiet, 25)).abs().amax((0, 1, 3))
    first = (changed > 1e-4).nonzero()[0].item()
    assert 11 <= first <= 13


@torch.no_grad()
def test_decoded_sound_is_stereo_at_24_khz(audio_vae, tiny_component):
    length = 10
    samples = decode_audio_latents(audio_vae, tiny_component("vocoder"), torch.randn(1, 8, length, 16, generator=torch.Generator().manual_seed(0)))
    # n causal latent frames are 4n - 3 mel frames of 10 ms.
    assert samples.shape == (1, 2, (4 * length - 3) * OUTPUT_RATE // 100)
    assert samples.dtype == torch.float32 and samples.std() > 0 and samples.abs().max() <= 1
