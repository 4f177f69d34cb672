"""VAEs, vocoder, connectors and log-mel against the official code, float32."""

import pytest
import torch
from official_cases import CONNECTOR_VALID

from ltx2core.models.audio import denormalise, encode_audio, normalise
from ltx2core.models.mel import log_mel
from ltx2core.models.vae_memory import VaeMemory
from ltx2core.models.video import decode_video_latents, encode_video


# Whatever saves memory without cutting the picture must give the official numbers too.
EXACT = {
    "plain": VaeMemory(),
    "patch_conv": VaeMemory(patch_conv=True, piece_bytes=2**14),
    "temporal_roll": VaeMemory(temporal_roll=True),
    "slicing": VaeMemory(slicing=True),
}


@torch.no_grad()
@pytest.mark.parametrize("memory", EXACT.values(), ids=EXACT)
def test_video_encoder(memory, cases, component, close):
    close(encode_video(component("video_vae"), cases.pixels(), memory), "video_vae.encoded")


@torch.no_grad()
@pytest.mark.parametrize("memory", EXACT.values(), ids=EXACT)
def test_video_decoder(memory, cases, component, close):
    decoded = decode_video_latents(component("video_vae"), cases.video_latents(), memory=memory)
    close(decoded[:, :, list(cases.DECODED_FRAMES)], "video_vae.decoded")


@torch.no_grad()
def test_audio_encoder(cases, component, close):
    vae = component("audio_vae")
    close(normalise(vae, vae.encode(cases.mel(), return_dict=False)[0].mode()), "audio_vae.encoded")


@torch.no_grad()
def test_audio_decoder(cases, component, close):
    vae = component("audio_vae")
    close(vae.decode(denormalise(vae, cases.audio_latents()), return_dict=False)[0], "audio_vae.decoded")


@torch.no_grad()
def test_vocoder(cases, component, close):
    close(component("vocoder")(cases.vocoder_mel()), "vocoder")


def test_log_mel(cases, close):
    close(log_mel(cases.waveform()), "log_mel")


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 6, 25, 40])
def test_encode_audio_gives_the_length_asked_for_and_pads_with_silence(cases, component, length):
    vae = component("audio_vae")
    latents = encode_audio(vae, cases.waveform(), length)
    assert latents.shape == (1, 8, length, 16)
    whole = normalise(vae, vae.encode(log_mel(cases.waveform()), return_dict=False)[0].mode())
    # Away from the cut, where the centred STFT sees the end, the encoder is causal: the same numbers.
    same = min(length, 25) - 3
    if same > 0:
        torch.testing.assert_close(latents[:, :, :same], whole[:, :, :same], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("valid", CONNECTOR_VALID)
def test_connectors(cases, component, close, valid):
    from ltx2core.text.features import after_connectors

    states, mask = cases.text_states(valid)
    features = after_connectors(component("connectors"), states, mask, torch.float32)
    close(features.video, f"connectors.{valid}.video")
    close(features.audio, f"connectors.{valid}.audio")
