"""Everything that a run can be given: kept where it must be, and refused with a sentence where it cannot be used."""

from dataclasses import replace

import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.media.audio import Waveform, resample
from ltx2core.models.handle import Models
from ltx2core.sample.decode import decode
from ltx2core.sample.conditions import video_state
from ltx2core.sample.given import Beginning, Given, Picture, encode_pictures, encode_sound
from ltx2core.sample.guides import Guide, pixel_frame, with_guides
from ltx2core.sample.modes import make, text_to_video
from ltx2core.sample.noise import make_noise
from ltx2core.sample.settings import PRESETS, SampleSettings, parse_seeds, preset
from ltx2core.sample.sound import decode_sound, text_to_sound

LONG = SampleSettings(64, 64, 25, 25.0, steps=2, video_cfg=1.0)


def noise_frames(count, seed=0, size=(64, 64)):
    return torch.randint(0, 255, (count, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def tone(seconds, rate=48000, seed=0):
    return Waveform(0.2 * torch.randn(2, round(seconds * rate), generator=torch.Generator().manual_seed(seed)), rate)


def test_pictures_at_chosen_frames(tiny_models, features, services):
    """The first is kept exactly; each later one acts, at its own frame, and the clip keeps its size."""
    first, later, other = (Picture(noise_frames(1, n), f) for n, f in ((1, 0), (2, 12), (3, -1)))

    def made(*pictures):
        return make(tiny_models, LONG, features(0), given=Given(pictures), **services).video

    clip = made(first, later, other)
    kept = encode_pictures(tiny_models, first.image, LONG, services["residency"])
    assert clip.shape == (1, 128, 4, 2, 2)
    torch.testing.assert_close(clip[:, :, :1], kept, atol=1e-5, rtol=0)
    for fewer in ((later, other), (first, other), (first, later), (first, replace(later, frame=13), other), (first, replace(later, image=noise_frames(1, 4)), other)):
        assert (clip - made(*fewer)).abs().max() > 1e-3
    assert torch.equal(made(first, replace(other, frame=24)), made(first, other))


def test_guides_stand_at_their_frames_time_and_behind_the_clip():
    noise, _ = make_noise(LONG)
    state = video_state(LONG, noise)
    pictures = [torch.randn(1, 128, 1, 2, 2) for _ in range(2)]
    beside = torch.randn(1, 128, 2, 2, 2)
    state_with = with_guides(state, [Guide(pictures[0], 12), Guide(pictures[1], 24, 0.25)], beside, 25.0)
    count = LONG.tokens
    assert torch.equal(state_with.tokens[:, :count], state.tokens) and state_with.tokens.shape[1] == count + 8
    whole, part = state_with.tokens[:, count : count + 4], state_with.tokens[:, count + 4 :]
    assert torch.equal(whole, pictures[0].flatten(2).transpose(1, 2)) and not state_with.mask[:, count : count + 4].any()
    torch.testing.assert_close(part, (0.25 * pictures[1] + 0.75 * beside[:, :, 1:]).flatten(2).transpose(1, 2))
    assert (state_with.mask[:, count + 4 :] == 0.75).all()
    for i, frame in enumerate((12, 24)):
        coords = state_with.coords[:, :, count + 4 * i : count + 4 * i + 4]
        assert torch.allclose(coords[:, 0], torch.tensor([frame / 25, (frame + 1) / 25]))
        assert torch.equal(coords[:, 1:], state.coords[:, 1:, :4])  # the places of the clip's own cells
    with pytest.raises(LTX2Error, match="takes no pictures"):
        with_guides(video_state(LONG, noise, held=noise), [Guide(pictures[0], 1)], beside, 25.0)


def test_strength_lets_the_model_change_a_picture(tiny_models, features, services):
    image = noise_frames(1, 1)
    kept = encode_pictures(tiny_models, image, LONG, services["residency"])
    away = [(make(tiny_models, LONG, features(0), given=Given((Picture(image, 0, s),)), **services).video[:, :, :1] - kept).abs().mean().item() for s in (1.0, 0.7, 0.2)]
    assert away[0] < 1e-5 < away[1] < away[2]
    free = make(tiny_models, LONG, features(0), given=Given((Picture(image, 0, 0.0),)), **services)
    torch.testing.assert_close(free.video, text_to_video(tiny_models, LONG, features(0), **services).video, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("frame", "position"), [(0, 0), (12, 12), (24, 24), (-1, 24), (-25, 0)])
def test_frames_are_counted_from_either_end(frame, position):
    assert pixel_frame(frame, LONG) == position


def test_beginning_is_kept_in_picture_and_sound(tiny_models, features, services):
    frames, sound = noise_frames(11), tone(11 / 25)
    latents = make(tiny_models, LONG, features(0), given=Given(beginning=Beginning(frames, sound)), **services)
    kept = encode_pictures(tiny_models, frames[-9:], LONG, services["residency"])
    torch.testing.assert_close(latents.video[:, :, :2], kept, atol=1e-5, rtol=0)
    last = Waveform(sound.samples[:, round(2 / 25 * 48000) :], 48000)
    begun = encode_sound(tiny_models, last, replace(LONG, frames=9), services["residency"])
    torch.testing.assert_close(latents.audio[:, :, :9], begun, atol=1e-5, rtol=0)
    assert latents.audio.shape[2] == 25 and any("last 9 of 11 frames" in s for s in services["reporter"].said)
    plain = make(tiny_models, LONG, features(0), **services)
    assert (latents.video[:, :, 2:] - plain.video[:, :, 2:]).abs().max() > 1e-3 and (latents.audio[:, :, 9:] - plain.audio[:, :, 9:]).abs().max() > 1e-4


def test_video_is_frozen_and_seen_while_its_sound_is_made(tiny_models, features, services):
    frames = noise_frames(20, size=(64, 80))
    latents = make(tiny_models, LONG, features(0), given=Given(video=frames), **services)
    assert any("17 frames, as many as the video of 20" in s for s in services["reporter"].said)
    torch.testing.assert_close(latents.video, encode_pictures(tiny_models, frames[:17], LONG, services["residency"]))
    clip = decode(latents, tiny_models, residency=services["residency"])[0]
    assert torch.equal(clip.frames, frames[:17, :, 8:72]) and clip.waveform.samples.shape == (2, round(17 / 25 * 24000))
    other = make(tiny_models, LONG, features(0), given=Given(video=noise_frames(17, 5)), **services)
    assert (other.audio - latents.audio).abs().max() > 1e-4


@pytest.mark.parametrize(("seconds", "said"), [(0.5, "silence follows it"), (2.0, "the sound is cut there")])
def test_sound_of_another_length_is_fitted_and_said(tiny_models, features, services, seconds, said):
    sound = tone(seconds)
    latents = make(tiny_models, LONG, features(0), given=Given(sound=sound), **services)
    assert any(said in s and f"{seconds:.2f} s" in s for s in services["reporter"].said)
    heard = decode(latents, tiny_models, residency=services["residency"])[0].waveform
    kept = min(sound.samples.shape[1], heard.samples.shape[1])
    assert heard.seconds == 1 and torch.equal(heard.samples[:, :kept], sound.samples[:, :kept]) and not heard.samples[:, kept:].any()


def test_clip_follows_the_sound_when_asked(tiny_models, features, services):
    latents = make(tiny_models, LONG, features(0), given=Given(sound=tone(0.73), sound_fit="fit_video"), **services)
    assert latents.video.shape[2] == 3 and any("becomes 17 frames" in s for s in services["reporter"].said)
    with pytest.raises(LTX2Error, match=r"lasts 0.73 s, the video 1.00 s; cut the sound, ask for 18 frames"):
        make(tiny_models, LONG, features(0), given=Given(sound=tone(0.73), sound_fit="refuse"), **services)
    services["reporter"].said.clear()
    make(tiny_models, LONG, features(0), given=Given(sound=tone(1.0), sound_fit="refuse"), **services)
    assert not any("sound lasts" in s for s in services["reporter"].said)


def test_cached_latents_stand_for_picture_and_sound(tiny_models, features, services):
    image, sound = noise_frames(1), tone(1.0)
    first = encode_pictures(tiny_models, image, LONG, services["residency"])
    held = encode_sound(tiny_models, sound, LONG, services["residency"])
    cached = make(tiny_models, LONG, features(0), given=Given(first_latents=first, sound_latents=held), **services)
    direct = make(tiny_models, LONG, features(0), given=Given((Picture(image),), sound=sound), **services)
    assert torch.equal(cached.video, direct.video) and torch.equal(cached.audio, held) and cached.sound is None


def test_things_that_do_not_go_together(tiny_models, features, services):
    picture, begin = Picture(noise_frames(1)), Beginning(noise_frames(9))
    with pytest.raises(LTX2Error, match="Two sounds"):
        Given(sound=tone(1), sound_latents=torch.zeros(1, 8, 25, 16))
    with pytest.raises(LTX2Error, match="only its sound is made"):
        Given((picture,), video=noise_frames(9))
    with pytest.raises(LTX2Error, match="beginning and a first picture"):
        Given((picture,), beginning=begin)
    with pytest.raises(LTX2Error, match="'loop'; choose one of fit_sound"):
        Given(sound_fit="loop")
    for given, said in [
        (Given((Picture(picture.image, 30),)), "at frame 30 and the clip has 25"),
        (Given((Picture(picture.image, 0, 1.5),)), "strength of a picture is 1.5"),
        (Given((Picture(picture.image, 0, float("nan")),)), "strength of a picture is nan"),
        (Given((Picture(picture.image, 24), Picture(picture.image, -1))), "Two pictures are given for frame 24"),
        (Given((Picture(picture.image, 12, -0.1),)), "strength of a picture is -0.1"),
        (Given((Picture(picture.image, 5),), beginning=begin), "at frame 5, where the beginning of 9 frames is shown; put it at frame 9 or later"),
        (Given(beginning=Beginning(noise_frames(25))), "25 frames and the clip 25"),
    ]:
        with pytest.raises(LTX2Error, match=said):
            make(tiny_models, LONG, features(0), given=given, **services)


def test_seed_list_gives_the_samples_of_single_runs(tiny_models, features, services):
    many = make(tiny_models, replace(LONG, seeds=(7, 3)), features(0), **services)
    for i, seed in enumerate((7, 3)):
        single = make(tiny_models, replace(LONG, seed=seed), features(0), **services)
        torch.testing.assert_close(many.video[i : i + 1], single.video, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(many.audio[i : i + 1], single.audio, atol=1e-4, rtol=1e-4)
    assert len(decode(many, tiny_models, residency=services["residency"])) == 2
    with pytest.raises(LTX2Error, match="2 seeds were given for a batch of 3"):
        replace(LONG, seeds=(1, 2), batch=3)


@pytest.mark.parametrize("own", [{"video_cfg": 3.0, "rescale": 0.7}, {"video_cfg": 3.0, "audio_cfg": 7.0, "stg": 1.0, "modality": 3.0, "rescale": 0.7}, {"video_cfg": 2.0, "sampler": "heun"}])
def test_guidance_of_a_batch_is_that_of_its_samples(tiny_models, features, services, own):
    settings, texts = replace(LONG, **own), (features(0), features(1))
    many = make(tiny_models, replace(settings, seeds=(7, 3)), *texts, **services)
    for i, seed in enumerate((7, 3)):
        single = make(tiny_models, replace(settings, seed=seed), *texts, **services)
        torch.testing.assert_close(many.video[i : i + 1], single.video, atol=5e-4, rtol=1e-3)
        torch.testing.assert_close(many.audio[i : i + 1], single.audio, atol=5e-4, rtol=1e-3)


def test_sounds_of_other_kinds(tiny_models, features, services):
    """One channel stays as it is, more than two become two, and what is no sound is refused before anything runs."""
    for channels, heard in ((1, 1), (6, 2)):
        sound = Waveform(0.2 * torch.randn(channels, 48000, generator=torch.Generator().manual_seed(1)), 48000)
        latents = make(tiny_models, LONG, features(0), given=Given(sound=sound), **services)
        clip = decode(latents, tiny_models, residency=services["residency"])[0]
        assert clip.waveform.samples.shape == (heard, 48000) and latents.audio.isfinite().all()
        expected = sound.samples if channels == 1 else sound.samples.mean(0).expand(2, -1)
        gain = (clip.waveform.samples * expected).sum() / (clip.waveform.samples.norm() * expected.norm())
        assert gain > 0.99
    for samples, said in ((torch.zeros(2, 0), "is empty"), (torch.full((2, 100), float("nan")), "no numbers")):
        for given in (lambda s: Given(sound=s), lambda s: Given(beginning=Beginning(noise_frames(9), s))):
            with pytest.raises(LTX2Error, match=said):
                given(Waveform(samples, 48000))


GIVEN = {
    "image": lambda: Given((Picture(noise_frames(1, 1)), Picture(noise_frames(1, 2), -1, 0.6))),
    "sound": lambda: Given(sound=tone(1.0)),
    "cached": lambda: Given(first_latents=torch.randn(1, 128, 1, 2, 2), sound_latents=torch.randn(1, 8, 25, 16)),
    "beginning": lambda: Given(beginning=Beginning(noise_frames(9), tone(9 / 25))),
    "video": lambda: Given(video=noise_frames(25)),
}


@pytest.mark.parametrize("mode", GIVEN)
def test_seed_lists_in_every_mode(tiny_models, features, services, mode):
    """With guidance and an adapter too: each sample is the one that its seed gives alone, and they differ where something is made."""
    torch.manual_seed(0)
    given, settings = GIVEN[mode](), replace(LONG, video_cfg=3.0)
    texts = features(0), features(1)
    many = make(tiny_models, replace(settings, seeds=(7, 3)), *texts, given=given, **services)
    for i, seed in enumerate((7, 3)):
        single = make(tiny_models, replace(settings, seed=seed), *texts, given=given, **services)
        torch.testing.assert_close(many.video[i : i + 1], single.video, atol=2e-4, rtol=1e-3)
        torch.testing.assert_close(many.audio[i : i + 1], single.audio, atol=2e-4, rtol=1e-3)
    made = many.audio if mode == "video" else many.video
    assert (made[0] - made[1]).abs().max() > 0.1
    clips = decode(many, tiny_models, residency=services["residency"])
    assert len(clips) == 2 and all(c.frames.shape == (25, 64, 64, 3) and c.waveform.seconds == 1 for c in clips)


def test_cut_sizes_are_said_for_sound_alone_too(tiny_models, features, services):
    assert text_to_sound(tiny_models, replace(LONG, frames=30, seeds=(1, 2)), features(0), **services).shape == (2, 8, 25, 16)
    assert any("30" in s and "25" in s for s in services["reporter"].said)


@pytest.mark.parametrize(("text", "seeds"), [("4", (4,)), ("1, 2, 5-8", (1, 2, 5, 6, 7, 8)), (" 3;3 ", (3,))])
def test_seeds_as_text(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "5-2", "1-100000", "1.5"])
def test_bad_seeds(text):
    with pytest.raises(LTX2Error, match="seed"):
        parse_seeds(text)


def test_presets():
    picture, sound = SampleSettings(**preset("official")).guidance()
    assert (picture.cfg, sound.cfg) == (3.0, 7.0)
    picture, sound = SampleSettings(**preset("studio")).guidance()
    assert (picture.cfg, sound.cfg) == (5.0, 5.0)
    assert not any(g.needs_negative for g in SampleSettings(**preset("distilled")).guidance())
    assert all(SampleSettings(**preset(name)) for name in PRESETS)
    with pytest.raises(LTX2Error, match="did you mean 'official'"):
        preset("offical")


def test_guidance_that_is_no_number_is_refused():
    with pytest.raises(LTX2Error, match="not a number"):
        SampleSettings(video_cfg=float("nan"))
    with pytest.raises(LTX2Error, match="frame_rate"):
        SampleSettings(frame_rate=float("nan"))


def test_sound_alone_follows_an_audio_adapter(tiny_models, features, services, make_adapter):
    settings = replace(LONG, steps=3)
    base = text_to_sound(tiny_models, settings, features(0), **services)
    assert base.shape == (1, 8, 25, 16) and torch.equal(base, text_to_sound(tiny_models, settings, features(0), **services))
    audio = make_adapter("voice", layers=("transformer_blocks.0.audio_attn1.to_q", "transformer_blocks.1.audio_ff.net.2"))
    changed = text_to_sound(tiny_models.with_adapters((audio, 1.0)), settings, features(0), **services)
    assert (changed - base).abs().max() > 1e-3
    whole = text_to_video(tiny_models.with_adapters((audio, 1.0)), settings, features(0), **services)
    assert (whole.audio - text_to_video(tiny_models, settings, features(0), **services).audio).abs().max() > 1e-3
    (heard,) = decode_sound(tiny_models, base, 1.0, services["residency"])
    assert heard.rate == 24000 and heard.samples.shape == (2, 24000)


def test_sound_alone_loads_only_its_part_of_the_model(tiny_models, features, services, make_adapter):
    """The picture's weights, five sixths of them, are not read; adapters act the same."""
    voice = make_adapter("voice", layers=("transformer_blocks.0.audio_attn1.to_q", "transformer_blocks.1.attn1.to_q", "proj_in"))
    small = Models(tiny_models.checkpoint, torch.float32, ((voice, 0.7),))
    found = text_to_sound(small, LONG, features(0), **services)
    assert small.loaded("transformer") is None and not any("audio" not in n for n, _ in small.component("audio_branch").named_parameters())
    tiny_models.component("transformer")
    torch.testing.assert_close(found, text_to_sound(tiny_models.with_adapters((voice, 0.7)), LONG, features(0), **services))


def test_sound_alone_does_not_see_the_picture(tiny_models, features, services, make_adapter):
    """An adapter of the video branch and of the attention between the two changes nothing."""
    base = text_to_sound(tiny_models, LONG, features(0), **services)
    assert torch.equal(text_to_sound(tiny_models.with_adapters((make_adapter(), 1.0)), LONG, features(0), **services), base)
    with pytest.raises(LTX2Error, match="CFG and rescaling only"):
        text_to_sound(tiny_models, replace(LONG, stg=1.0), features(0), **services)
    with pytest.raises(LTX2Error, match="needs a negative prompt"):
        text_to_sound(tiny_models, replace(LONG, audio_cfg=3.0), features(0), **services)


def test_sound_between_rates_is_heard_as_given(tiny_models, features, services):
    sound = resample(tone(1.0), 44100)
    latents = make(tiny_models, LONG, features(0), given=Given(sound=sound), **services)
    clip = decode(latents, tiny_models, residency=services["residency"])[0]
    assert clip.waveform.rate == 44100 and torch.equal(clip.waveform.samples, sound.samples[:, :44100])
