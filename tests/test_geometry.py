import pytest

from ltx2core.errors import LTX2Error
from ltx2core.geometry import audio_latent_length, latent_frames, pixel_frames, snap_frames, snap_size, video_tokens


# Pixel frames asked for, frames the VAE takes.
@pytest.mark.parametrize("asked,taken", [(48, 41), (61, 57), (119, 113), (125, 121), (49, 49), (1, 1), (8, 1)])
def test_frames_snap_down_to_8k_plus_1(asked, taken):
    snapped = snap_frames(asked)
    assert snapped.value == taken
    assert (snapped.message is None) == (asked == taken)
    if snapped.message:
        assert str(asked) in snapped.message and str(taken) in snapped.message


# F -> latent frames, audio latent frames at 25 fps.
@pytest.mark.parametrize("frames,latents,audio", [(17, 3, 17), (49, 7, 49), (57, 8, 57), (97, 13, 97), (121, 16, 121)])
def test_latent_lengths(frames, latents, audio):
    assert latent_frames(frames) == latents and pixel_frames(latents) == frames
    assert audio_latent_length(frames, 25.0) == audio


def test_sizes_snap_down_and_say_so():
    assert snap_size(768, 512) == (768, 512, None)
    width, height, message = snap_size(720, 1280)
    assert (width, height) == (704, 1280) and "704x1280" in message
    with pytest.raises(LTX2Error, match="too small"):
        snap_size(31, 512)
    with pytest.raises(LTX2Error):
        snap_frames(0)


def test_token_count():
    assert video_tokens(121, 512, 768) == 16 * 16 * 24
