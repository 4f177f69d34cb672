"""Pictures to normalised latents and back: statistics, sizes, time."""

import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.models.video import decode_video_latents, denormalise, encode_video, normalise


@pytest.fixture
def vae(tiny_component):
    """With statistics that are not neutral, all different."""
    vae = tiny_component("video_vae")
    kept = vae.latents_mean.clone(), vae.latents_std.clone()
    vae.latents_mean.copy_(torch.linspace(-1, 1, 128))
    vae.latents_std.copy_(torch.linspace(0.5, 3, 128))
    yield vae
    vae.latents_mean.copy_(kept[0])
    vae.latents_std.copy_(kept[1])


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_statistics_belong_to_channels(vae):
    latents = noise(2, 128, 2, 3, 4)
    normal = normalise(vae, latents)
    torch.testing.assert_close(normal[1, 40, 1, 2, 3], (latents[1, 40, 1, 2, 3] - (-1 + 80 / 127)) / (0.5 + 100 / 127))
    torch.testing.assert_close(denormalise(vae, normal), latents)


@torch.no_grad()
def test_encoding_is_the_posteriors_mean_normalised(vae):
    pixels = noise(1, 3, 9, 32, 64).clamp(-1, 1)
    posterior = vae.encode(pixels).latent_dist
    torch.testing.assert_close(encode_video(vae, pixels), normalise(vae, posterior.mean), atol=2e-5, rtol=0)
    torch.testing.assert_close(encode_video(vae, pixels), encode_video(vae, pixels), atol=0, rtol=0)  # no draw in it


@torch.no_grad()
def test_decoding_undoes_the_normalisation(vae):
    latents = noise(1, 128, 2, 2, 2)
    torch.testing.assert_close(decode_video_latents(vae, latents), vae.decode(denormalise(vae, latents)).sample, atol=2e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("shape", "latent"), [((1, 32, 32), (1, 1, 1)), ((9, 64, 32), (2, 2, 1)), ((17, 32, 96), (3, 1, 3))])
def test_shapes_there_and_back(shape, latent, vae):
    encoded = encode_video(vae, noise(1, 3, *shape))
    assert encoded.shape == (1, 128, *latent)
    # The decoder reflects at its borders, so it wants two cells a side.
    wide = encoded.repeat(1, 1, 1, 2, 2)
    assert decode_video_latents(vae, wide).shape == (1, 3, shape[0], shape[1] * 2, shape[2] * 2)


@torch.no_grad()
def test_a_frame_changes_its_latent_and_later_ones_only(vae):
    """Frame 9 is the first of latent frame 2 (frames 9 to 16)."""
    pixels = noise(1, 3, 25, 32, 32).clamp(-1, 1)
    changed = pixels.clone()
    changed[:, :, 9] *= -1
    off = (encode_video(vae, changed) - encode_video(vae, pixels)).abs().amax((0, 1, 3, 4))
    assert (off > 1e-4).tolist() == [False, False, True, True]


@torch.no_grad()
def test_dtypes(tiny_component, vae):
    import copy

    half = copy.deepcopy(vae).bfloat16()
    latents = encode_video(half, noise(1, 3, 1, 64, 64))
    assert latents.dtype == torch.bfloat16
    assert decode_video_latents(half, latents).dtype == torch.float32


def test_a_decoder_with_a_timestep_is_refused(vae, monkeypatch):
    monkeypatch.setattr(vae.decoder, "timestep_scale_multiplier", torch.nn.Parameter(torch.tensor(1000.0)))
    with pytest.raises(LTX2Error, match="timestep"):
        decode_video_latents(vae, noise(1, 128, 1, 2, 2))


def test_a_side_of_one_cell_cannot_be_decoded(vae):
    with pytest.raises(LTX2Error, match="at least 64 pixels"):
        decode_video_latents(vae, noise(1, 128, 1, 1, 4))
