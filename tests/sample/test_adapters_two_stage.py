"""Half size, enlarged, refined: the whole path on tiny models, and what is refused. Numbers: tests/parity/test_parity_stages.py."""

import json

import pytest
import torch
from safetensors.torch import save_file

from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.errors import LTX2Error
from ltx2core.media.audio import Waveform
from ltx2core.models.handle import Models
from ltx2core.models.upsampler import open_upsampler
from ltx2core.protocols import Interrupted
from ltx2core.sample.decode import decode
from ltx2core.sample.given import Picture, encode_pictures
from ltx2core.sample.loop import Latents
from ltx2core.sample.modes import image_to_video, sound_to_video, text_to_video
from ltx2core.sample.settings import SampleSettings
from ltx2core.sample.sigmas import SECOND_STAGE
from ltx2core.sample.two_stage import RefineSettings, half_size, parse_sigmas, refine, two_stages
from ltx2core.sample.upscale import upscale_latents
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.text.features import TextFeatures
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.tiny_upscaler import tiny_upscaler_state, write_tiny_upscaler

SETTINGS = SampleSettings(200, 128, 9, 25.0, steps=2, video_cfg=1.0, audio_cfg=1.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("s") / "tiny.safetensors")), torch.float32)


@pytest.fixture(scope="module")
def upscaler(tmp_path_factory):
    return open_upsampler(write_tiny_upscaler(tmp_path_factory.mktemp("u") / "ltx-2-spatial-upscaler-x2-1.0.safetensors"))


@pytest.fixture
def services():
    return {"residency": PlainResidency(torch.device("cpu")), "reporter": ConsoleReporter(quiet=True), "stop": StopFlag()}


@pytest.fixture(scope="module")
def prompt():
    generator = torch.Generator().manual_seed(3)
    return TextFeatures(torch.randn(1, 16, 64, generator=generator), torch.randn(1, 16, 64, generator=generator))


def picture(seed=0):
    return torch.randint(0, 255, (1, 90, 120, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_text_to_video_in_two_stages(models, upscaler, services, prompt):
    said, asked = [], []
    services["reporter"].message = lambda text, level="info": said.append(text)

    def first(settings):
        asked.append(settings)
        return text_to_video(models, settings, prompt, **services)

    made = two_stages(first, models, upscaler, SETTINGS, prompt, **services)
    assert (asked[0].width, asked[0].height) == (96, 64) and any("200x128 becomes 192x128: sides must be multiples of 64" in s for s in said)
    assert made.video.shape == (1, 128, 2, 4, 6) and made.video.isfinite().all()
    small = first(asked[0])
    assert torch.equal(made.audio, small.audio)
    large = upscale_latents(small, models, upscaler, services["residency"])
    assert large.video.shape == made.video.shape and (large.video - made.video).abs().max() > 1e-2
    clip = decode(made, models, residency=services["residency"])[0]
    assert clip.frames.shape == (9, 128, 192, 3)


def test_the_first_frame_is_that_of_the_full_size(models, upscaler, services, prompt):
    image = picture()
    made = two_stages(lambda s: image_to_video(models, s, image, prompt, **services), models, upscaler, SETTINGS, prompt, pictures=(Picture(image),), **services)
    _, whole, _ = half_size(SETTINGS)
    assert torch.allclose(made.video[:, :, :1], encode_pictures(models, image, whole, services["residency"]), atol=1e-5)


def test_a_given_sound_stays_through_both_stages(models, upscaler, services, prompt):
    sound = Waveform(0.1 * torch.randn(2, 24000), 48000)
    stages = [sound_to_video(models, half_size(SETTINGS)[0], sound, prompt, **services)]
    made = refine(models, upscale_latents(stages[0], models, upscaler, services["residency"]), prompt, RefineSettings(keep_sound=False), **services)
    assert torch.equal(made.audio, stages[0].audio) and made.sound is sound


def test_sound_of_the_second_stage_by_choice(models, services, prompt):
    latents = Latents(torch.randn(1, 128, 2, 4, 6), torch.randn(1, 8, 9, 16), 25.0)
    kept, made = (refine(models, latents, prompt, RefineSettings(keep_sound=k), **services) for k in (True, False))
    assert torch.equal(kept.audio, latents.audio) and (made.audio - latents.audio).abs().max() > 1e-2
    assert torch.equal(kept.video, made.video)


def test_a_low_first_sigma_keeps_more_of_what_is_there(models, services, prompt):
    latents = Latents(torch.randn(1, 128, 2, 4, 6), torch.randn(1, 8, 9, 16), 25.0)
    distance = [(refine(models, latents, prompt, RefineSettings(sigmas=(s, 0.0)), **services).video - latents.video).norm() for s in (0.05, 0.5, 0.95)]
    assert distance[0] < distance[1] < distance[2]


def test_seeds_and_stopping(models, services, prompt):
    latents = Latents(torch.randn(2, 128, 2, 4, 6), torch.randn(2, 8, 9, 16), 25.0)
    a, again, b = (refine(models, latents, prompt, RefineSettings(seed=s), **services) for s in (1, 1, 2))
    assert torch.equal(a.video, again.video) and (a.video - b.video).abs().max() > 1e-2 and len(a.video) == 2
    services["stop"].stopped = True
    with pytest.raises(Interrupted, match="after 0 of 3 steps"):
        refine(models, latents, prompt, **services)


def test_upscaling_leaves_no_trace_and_takes_the_vae_s_scale(models, upscaler, services):
    """With other statistics of the channels the enlarged latents differ: the upscaler is not shown normalised ones."""
    latents, vae = Latents(torch.randn(1, 128, 2, 2, 3), torch.randn(1, 8, 9, 16), 25.0), models.component("video_vae")
    plain = upscale_latents(latents, models, upscaler, services["residency"])
    assert torch.equal(upscale_latents(latents, models, upscaler, services["residency"]).video, plain.video)
    kept = vae.latents_std.clone()
    vae.latents_std.mul_(3)
    try:
        other = upscale_latents(latents, models, upscaler, services["residency"])
    finally:
        vae.latents_std.copy_(kept)
    assert (other.video - plain.video).abs().max() > 1e-2
    with pytest.raises(LTX2Error, match="nothing to enlarge"):
        upscale_latents(Latents(latents.video, latents.audio, 25.0, pictures=torch.zeros(9, 64, 96, 3)), models, upscaler, services["residency"])


def test_half_size_halves_to_what_the_vae_takes():
    small, whole, messages = half_size(SampleSettings(1280, 720, 121))
    assert (small.width, small.height, whole.width, whole.height) == (640, 352, 1280, 704) and len(messages) == 1
    assert half_size(SampleSettings(1280, 704, 121))[2] == ()
    with pytest.raises(LTX2Error, match="at least 64 pixels"):
        half_size(SampleSettings(96, 32, 9))


@pytest.mark.parametrize("sigmas", [(0.9,), (0.5, 0.9, 0.0), (0.9, 0.5), (1.5, 0.0), (float("nan"), 0.0)])
def test_bad_sigmas_are_refused(sigmas):
    with pytest.raises(LTX2Error, match="falling numbers from at most 1 down to 0"):
        RefineSettings(sigmas=sigmas)


def test_sigmas_as_text():
    assert parse_sigmas(" ") == SECOND_STAGE == RefineSettings().sigmas == (0.909375, 0.725, 0.421875, 0.0)
    assert parse_sigmas("0.5; 0.2, 0") == (0.5, 0.2, 0.0)
    with pytest.raises(LTX2Error, match="no list of sigmas"):
        parse_sigmas("half")


def test_sound_of_another_length_is_refused(models, services, prompt):
    with pytest.raises(LTX2Error, match="7 latent frames of sound and their video needs 9"):
        refine(models, Latents(torch.randn(1, 128, 2, 4, 6), torch.randn(1, 8, 7, 16), 25.0), prompt, **services)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"temporal_upsample": True, "spatial_upsample": False}, "an upscaler in time"),
        ({"spatial_scale": 1.5}, "scales by 1.5"),
    ],
)
def test_other_upscalers_are_refused(tmp_path, change, match):
    state, config = tiny_upscaler_state()
    save_file(state, tmp_path / "u.safetensors", metadata={"config": json.dumps({**config, **change})})
    with pytest.raises(LTX2Error, match=match):
        open_upsampler(tmp_path / "u.safetensors")


def test_a_file_that_is_no_upscaler_or_lacks_a_key_is_named(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(LTX2Error, match="a.safetensors is no latent upscaler; choose the spatial x2"):
        open_upsampler(tmp_path / "a.safetensors")
    state, config = tiny_upscaler_state()
    del state["final_conv.bias"]
    save_file(state, tmp_path / "b.safetensors", metadata={"config": json.dumps(config)})
    with pytest.raises(LTX2Error, match="missing key final_conv.bias"):
        open_upsampler(tmp_path / "b.safetensors").load(torch.float32)
