"""Reference videos (IC-LoRA) from pixels to latents: sizes, scales, lengths, and what is refused."""

import pytest
import torch

from ltx2core.checkpoint.adapter import Adapter
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.errors import LTX2Error
from ltx2core.models.forward import Modality, denoise
from ltx2core.models.handle import Models
from ltx2core.models.latents import pack_audio, pack_video, video_coords
from ltx2core.sample.conditions import audio_state, video_state
from ltx2core.media.audio import Waveform
from ltx2core.sample.given import Given, Picture, encode_pictures, encode_sound
from ltx2core.sample.modes import text_to_video
from ltx2core.sample.noise import make_noise
from ltx2core.sample.published import DISTILLED_PRESET
from ltx2core.sample.reference import (
    Reference, fit_settings, reference_cells, reference_frames, reference_noise, reference_scale, reference_to_video, with_reference, without_reference,
)  # fmt: skip
from ltx2core.sample.settings import SampleSettings
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.text.features import TextFeatures
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.train.reference import ReferenceScale

SETTINGS = SampleSettings(128, 128, 17, 25.0, steps=2, video_cfg=1.0, audio_cfg=1.0)
HALF, SLOW = ReferenceScale(2, 1), ReferenceScale(1, 2)


def ic_lora(metadata, name="ic"):
    generator = torch.Generator().manual_seed(1)
    return Adapter(name, {"transformer_blocks.0.attn1.to_q": (0.3 * torch.randn(4, 128, generator=generator), 0.3 * torch.randn(128, 4, generator=generator))}, "2.0", metadata)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("r") / "tiny.safetensors")), torch.float32)


class Said(ConsoleReporter):
    def __init__(self):
        super().__init__(quiet=True)
        self.texts = []

    def message(self, text, level="info"):
        self.texts.append(text)


@pytest.fixture
def services():
    return {"residency": PlainResidency(torch.device("cpu")), "reporter": Said(), "stop": StopFlag()}


@pytest.fixture(scope="module")
def prompt():
    generator = torch.Generator().manual_seed(3)
    return TextFeatures(torch.randn(1, 16, 64, generator=generator), torch.randn(1, 16, 64, generator=generator))


def film(frames, height=96, width=160, seed=0):
    return torch.randint(0, 255, (frames, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("metadata", "cells"),
    [({}, (3, 4, 4)), ({"reference_downscale_factor": "2"}, (3, 2, 2)), ({"reference_downscale_factor": "2", "reference_temporal_scale_factor": "2"}, (2, 2, 2))],
)
def test_a_reference_is_seen_at_the_adapter_s_scale(models, services, prompt, metadata, cells, monkeypatch):
    """Against one Euler step written out: velocities of reference and clip together, at coordinates by the formula."""
    models = models.with_adapters((ic_lora(metadata), 0.0))  # the scale of an adapter that is off does not count
    on = Models(models.checkpoint, models.dtype, ((ic_lora(metadata), 1e-8),), models._loaded)
    one = SampleSettings(**{**SETTINGS.to_dict(), "steps": 1})
    reference = Reference(film(20))
    made = reference_to_video(on, one, reference, prompt, **services)
    spatial, temporal = int(metadata.get("reference_downscale_factor", 1)), int(metadata.get("reference_temporal_scale_factor", 1))
    small = SampleSettings(128 // spatial, 128 // spatial, 17)
    kept = reference.frames[:17][[0, *range(1, 17, temporal)]]
    latents = encode_pictures(models, kept, small, services["residency"])
    assert tuple(latents.shape[2:]) == cells == reference_cells(one, ReferenceScale(spatial, temporal))
    noise, audio_noise = make_noise(one)
    where = video_coords(1, *cells, 25.0).clone()
    where[:, 1:] *= spatial
    where[:, 0] = (where[:, 0] * temporal - (temporal - 1) / 25.0).clamp(min=0)
    count = latents[0, 0].numel()
    tokens = torch.cat([pack_video(latents), pack_video(noise)], 1)
    steps = torch.ones(1, tokens.shape[1])
    steps[:, :count] = 0
    coords = torch.cat([where, video_coords(1, 3, 4, 4, 25.0)], 2)
    sound = audio_state(audio_noise)
    sigma = torch.ones(1)
    with torch.no_grad():
        velocity, heard = denoise(models.component("transformer"), Modality(tokens, sigma, coords, prompt.video, steps), Modality(sound.tokens, sigma, sound.coords, prompt.audio))
    torch.testing.assert_close(pack_video(made.video), tokens[:, count:] - velocity[:, count:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pack_audio(made.audio), sound.tokens - heard, atol=1e-4, rtol=1e-4)
    assert "first 17 are used" in " ".join(services["reporter"].texts)


def test_the_reference_changes_the_clip_and_the_first_frame_is_kept(models, services, prompt):
    on = models.with_adapters((ic_lora({"reference_downscale_factor": "2"}), 1.0))
    picture = film(1, seed=5)
    a, b = (reference_to_video(on, SETTINGS, Reference(film(17, seed=s)), prompt, given=Given((Picture(picture),)), **services) for s in (1, 2))
    plain = text_to_video(on, SETTINGS, prompt, **services)
    assert a.video.shape == plain.video.shape == (1, 128, 3, 4, 4) and a.audio.shape == plain.audio.shape
    assert (a.video - b.video).abs().max() > 1e-2
    first = encode_pictures(models, picture, SETTINGS, services["residency"])
    assert torch.allclose(a.video[:, :, :1], first, atol=1e-5)


def test_a_sound_that_is_given_beside_the_reference_is_held(models, services, prompt):
    on = models.with_adapters((ic_lora({"reference_downscale_factor": "2"}), 1.0))
    sound = Waveform(0.1 * torch.randn(2, 33600, generator=torch.Generator().manual_seed(4)), 48000)
    made = reference_to_video(on, SETTINGS, Reference(film(17)), prompt, given=Given(sound=sound), **services)
    assert torch.equal(made.audio, encode_sound(models, sound, SETTINGS, services["residency"])) and made.sound is sound
    with pytest.raises(LTX2Error, match="take the reference away"):
        reference_to_video(on, SETTINGS, Reference(film(17)), prompt, given=Given(video=film(17)), **services)


def test_a_sound_is_held_against_the_clip_as_it_was_cut(models, services, prompt):
    """19 frames become 17 first, so a sound of 17 frames fits without a word."""
    on = models.with_adapters((ic_lora({"reference_downscale_factor": "2", "reference_temporal_scale_factor": "2"}), 1.0))
    sound = Waveform(0.1 * torch.randn(2, round(17 / 25 * 48000)), 48000)
    reference_to_video(on, SampleSettings(128, 128, 19, 25.0, steps=1, video_cfg=1.0), Reference(film(17)), prompt, given=Given(sound=sound), **services)
    assert any("19" in t and "17" in t for t in services["reporter"].texts) and not any("The sound lasts" in t for t in services["reporter"].texts)


def test_seed_lists_beside_a_reference(models, services, prompt):
    on = models.with_adapters((ic_lora({"reference_downscale_factor": "2"}), 1.0))
    settings = SampleSettings(**{**SETTINGS.to_dict(), "seeds": (7, 3)})
    many = reference_to_video(on, settings, Reference(film(17), 0.7), prompt, **services)
    for i, seed in enumerate((7, 3)):
        single = reference_to_video(on, SampleSettings(**{**SETTINGS.to_dict(), "seed": seed}), Reference(film(17), 0.7), prompt, **services)
        torch.testing.assert_close(many.video[i : i + 1], single.video, atol=2e-4, rtol=1e-3)


def test_a_reference_of_strength_nought_is_noise_of_its_own_seed(models):
    noise, _ = make_noise(SETTINGS)
    video, latents = video_state(SETTINGS, noise), torch.randn(1, 128, 3, 2, 2)
    other = reference_noise(SETTINGS, latents)
    state = with_reference(video, latents, other, 25.0, HALF, 0.0)
    assert torch.equal(state.tokens[:, :12], pack_video(other)) and bool((state.mask == 1).all())
    kept = with_reference(video, latents, other, 25.0, HALF, 1.0)
    assert torch.equal(kept.tokens[:, :12], pack_video(latents)) and not kept.mask[:, :12].any()
    back = without_reference(kept, (3, 2, 2))
    assert all(torch.equal(getattr(back, n), getattr(video, n)) for n in ("tokens", "clean", "mask", "coords"))
    many = SampleSettings(**{**SETTINGS.to_dict(), "batch": 2})
    both = reference_noise(many, latents)
    assert torch.equal(both[:1], other) and (both[0] - both[1]).abs().max() > 0.1
    assert not any(torch.equal(both[0, :, 0, :2, :2], n[:, 0, :2, :2]) for n in noise)


def test_a_shorter_reference_says_what_to_do(models, services, prompt):
    on = models.with_adapters((ic_lora({}), 1.0))
    with pytest.raises(LTX2Error, match="reference video has 12 frames and the clip needs 17; give a longer one, or ask for 9 frames"):
        reference_to_video(on, SETTINGS, Reference(film(12)), prompt, **services)
    with pytest.raises(LTX2Error, match="has 0 frames"):
        reference_frames(film(1)[:0], SETTINGS, HALF)
    assert len(reference_frames(film(17), SETTINGS, SLOW)) == 9


def test_sizes_that_the_reference_cannot_have_are_snapped_and_said():
    settings, messages = fit_settings(SampleSettings(160, 128, 25), ReferenceScale(2, 2))
    assert (settings.width, settings.height, settings.frames) == (128, 128, 17)
    assert "multiples of 64" in messages[0] and "16k+1" in messages[1]
    assert fit_settings(SampleSettings(128, 64, 17), ReferenceScale(2, 2)) == (SampleSettings(128, 64, 17), ())
    with pytest.raises(LTX2Error, match="too small"):
        fit_settings(SampleSettings(32, 32, 9), HALF)


def test_scales_of_several_adapters():
    plain, two, four = ic_lora({}), ic_lora({"reference_downscale_factor": "2"}, "two"), ic_lora({"reference_downscale_factor": "4"}, "four")
    assert reference_scale([(plain, 1.0)]) == ReferenceScale(1, 1)
    assert reference_scale([(plain, 1.0), (two, 0.5), (four, 0.0)]) == ReferenceScale(2, 1)
    with pytest.raises(LTX2Error, match="two and four take reference videos of different scales"):
        reference_scale([(two, 1.0), (four, 1.0)])


def test_without_an_adapter_it_is_said(models, services, prompt):
    reference_to_video(models, SETTINGS, Reference(film(17)), prompt, **services)
    assert any("No adapter is applied" in t for t in services["reporter"].texts)


def test_the_distilled_adapter_with_other_settings_is_said(models, services, prompt):
    distilled = models.with_adapters((ic_lora({}, "ltx-2-19b-distilled-lora-384"), 1.0))
    text_to_video(distilled, SETTINGS, prompt, **services)
    assert any("is made for schedule distilled, steps 8" in t for t in services["reporter"].texts)
    services["reporter"].texts.clear()
    text_to_video(distilled, DISTILLED_PRESET.apply(SampleSettings(64, 64, 9)), prompt, **services)
    text_to_video(models.with_adapters((ic_lora({}, "ltx-2-19b-distilled-lora-384"), 0.0)), SETTINGS, prompt, **services)
    assert not any("is made for" in t for t in services["reporter"].texts)


def test_bad_strengths_and_held_videos_are_refused():
    for strength in (float("nan"), 1.5):
        with pytest.raises(LTX2Error, match="strength of the reference"):
            Reference(film(9), strength)
    noise, _ = make_noise(SETTINGS)
    with pytest.raises(LTX2Error, match="takes no reference"):
        with_reference(video_state(SETTINGS, noise, held=noise), noise, noise, 25.0, HALF)
