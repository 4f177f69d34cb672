"""Conditions are kept, adapters leave no trace, and a person can stop."""

import pytest
import torch

from ltx2core.checkpoint.adapter import Adapter
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.errors import LTX2Error
from ltx2core.media.audio import Waveform
from ltx2core.models.handle import Models
from ltx2core.protocols import Interrupted
from ltx2core.sample.adapters import applied
from ltx2core.sample.conditions import Keyframe, audio_state, video_state
from ltx2core.sample.decode import decode
from ltx2core.sample.loop import run_loop
from ltx2core.sample.guidance import Guidance, combine, warnings
from ltx2core.sample.modes import encode_pictures, encode_sound, image_to_video, sound_to_video, text_to_video
from ltx2core.sample.noise import make_noise
from ltx2core.sample.settings import SampleSettings
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.text.features import TextFeatures
from ltx2core.tiny import write_tiny_checkpoint

SETTINGS = SampleSettings(96, 64, 9, 25.0, steps=3, video_cfg=3.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("s") / "tiny.safetensors")), torch.float32)


@pytest.fixture
def services():
    return {"residency": PlainResidency(torch.device("cpu")), "reporter": ConsoleReporter(quiet=True), "stop": StopFlag()}


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(3)
    make = lambda: TextFeatures(torch.randn(1, 16, 64, generator=generator), torch.randn(1, 16, 64, generator=generator))  # noqa: E731
    return make(), make()


def random_adapter(models, name="a", seed=0, layers=("transformer_blocks.0.attn1.to_q", "transformer_blocks.1.audio_to_video_attn.to_out.0")):
    generator = torch.Generator().manual_seed(seed)
    pairs = {}
    for layer in layers:
        linear = models.component("transformer").get_submodule(layer)
        pairs[layer] = (0.3 * torch.randn(4, linear.in_features, generator=generator), 0.3 * torch.randn(linear.out_features, 4, generator=generator))
    return Adapter(name, pairs, "2.0")


def test_same_seed_same_video_and_another_seed_another(models, services, prompts):
    first = text_to_video(models, SETTINGS, *prompts, **services)
    again = text_to_video(models, SETTINGS, *prompts, **services)
    other = text_to_video(models, SampleSettings(**{**SETTINGS.to_dict(), "seed": 1}), *prompts, **services)
    assert torch.equal(first.video, again.video) and torch.equal(first.audio, again.audio)
    assert (first.video - other.video).abs().max() > 0.1
    assert first.video.shape == (1, 128, 2, 2, 3) and first.audio.shape == (1, 8, 9, 16)


def test_first_frame_is_kept(models, services, prompts):
    image = torch.randint(0, 255, (1, 80, 100, 3), dtype=torch.uint8)
    latents = image_to_video(models, SETTINGS, image, *prompts, **services)
    assert torch.allclose(latents.video[:, :, :1], encode_pictures(models, image, SETTINGS, services["residency"]), atol=1e-5)


def test_sound_is_held_clean_and_is_the_results_own(models, services, prompts):
    sound = Waveform(0.1 * torch.randn(2, 24000), 48000)
    latents = sound_to_video(models, SETTINGS, sound, *prompts, **services)
    assert torch.equal(latents.audio, encode_sound(models, sound, SETTINGS, services["residency"]))
    clip = decode(latents, models, residency=services["residency"])[0]
    length = round(9 / 25 * 48000)
    assert torch.equal(clip.waveform.samples, sound.samples[:, :length]) and clip.frames.shape == (9, 64, 96, 3)
    silent = sound_to_video(models, SETTINGS, Waveform(torch.zeros(2, 24000), 48000), *prompts, **services)
    assert (silent.video - latents.video).abs().max() > 1e-3


def test_adapters_equal_merged_weights_and_leave_no_trace(models):
    transformer = models.component("transformer")
    before = {k: v.clone() for k, v in transformer.state_dict().items()}
    a, b = random_adapter(models), random_adapter(models, "b", 1)
    layer = "transformer_blocks.0.attn1.to_q"
    linear, x = transformer.get_submodule(layer), torch.randn(2, 5, 128)
    plain = linear(x)
    with applied(transformer, [(a, 0.7), (b, -0.4)]):
        ours = linear(x)
    merged = linear.weight + sum(s * (adapter.layers[layer][1] @ adapter.layers[layer][0]) for adapter, s in ((a, 0.7), (b, -0.4)))
    torch.testing.assert_close(ours, torch.nn.functional.linear(x, merged, linear.bias), atol=1e-4, rtol=1e-4)
    assert torch.equal(linear(x), plain)
    assert all(torch.equal(v, before[k]) for k, v in transformer.state_dict().items())
    assert not any(m._forward_hooks for m in transformer.modules())


def test_strength_zero_is_the_base_and_adapters_change_samples(models, services, prompts):
    base = text_to_video(models, SETTINGS, *prompts, **services)
    adapter = random_adapter(models)
    assert torch.equal(text_to_video(models.with_adapters((adapter, 0.0)), SETTINGS, *prompts, **services).video, base.video)
    assert (text_to_video(models.with_adapters((adapter, 1.0)), SETTINGS, *prompts, **services).video - base.video).abs().max() > 1e-3
    assert torch.equal(text_to_video(models, SETTINGS, *prompts, **services).video, base.video)


def test_adapters_that_do_not_fit_are_refused(models):
    with pytest.raises(LTX2Error, match="trained for 2.3"):
        models.with_adapters((Adapter("other", {}, "2.3"), 1.0))
    wrong = Adapter("wide", {"transformer_blocks.0.attn1.to_q": (torch.ones(2, 7), torch.ones(128, 2))}, "2.0")
    with pytest.raises(LTX2Error, match="7 to 128 features"), applied(models.component("transformer"), [(wrong, 1.0)]):
        pass
    deep = Adapter("deep", {"transformer_blocks.40.attn1.to_q": (torch.ones(2, 128), torch.ones(128, 2))}, "2.0")
    with pytest.raises(LTX2Error, match="does not have"), applied(models.component("transformer"), [(deep, 1.0)]):
        pass


def test_stop_between_steps(models, services, prompts):
    services["stop"].stopped = True
    with pytest.raises(Interrupted, match="after 0 of 3 steps"):
        text_to_video(models, SETTINGS, *prompts, **services)


def test_sizes_are_snapped_and_said(models, services, prompts):
    said = []
    services["reporter"].message = lambda text, level="info": said.append(text)
    latents = text_to_video(models, SampleSettings(100, 70, 13, 25.0, steps=1, video_cfg=9.0), *prompts, **services)
    assert latents.video.shape == (1, 128, 2, 2, 3)
    assert any("100x70 becomes 96x64" in s for s in said) and any("13 frames become 9" in s for s in said) and any("above 6" in s for s in said)


def test_guidance_without_negative_prompt_is_refused(models, services, prompts):
    with pytest.raises(LTX2Error, match="needs a negative prompt"):
        text_to_video(models, SETTINGS, prompts[0], **services)
    plain = SampleSettings(**{**SETTINGS.to_dict(), "video_cfg": 1.0})
    assert text_to_video(models, plain, prompts[0], **services).video.isfinite().all()


def test_combination_by_its_formula():
    c, n, p, m = torch.randn(4, 2, 5, 7)
    got = combine(Guidance(3.0, 0.5, 2.0, 0.7), c, n, p, m)
    mixed = c + 2.0 * (c - n) + 0.5 * (c - p) + 1.0 * (c - m)
    for sample in range(len(c)):  # each sample's own deviation, as the official code has it for its one sample
            torch.testing.assert_close(got[sample], mixed[sample] * (0.7 * c[sample].std() / mixed[sample].std() + 0.3))
    assert torch.equal(combine(Guidance(), c, None, None, None), c)


def test_warnings():
    assert "above" in warnings(Guidance(6.5), False)[0] and "below" in warnings(Guidance(1.5), False)[0]
    assert not warnings(Guidance(5.0), False) and not warnings(Guidance(1.0), True)
    assert warnings(Guidance(1.0), False) and warnings(Guidance(1.5), True)  # the distilled adapter is made for 1 alone


def test_orders_of_the_samplers():
    """For data of deviation d the flow is known: x(sigma) = x(1) * sqrt(((1 - sigma) d)^2 + sigma^2). Twice the steps must
    leave about half of Euler's error and a quarter of Heun's.
    """
    d = 0.5

    def exact_x0(video, audio, sigma):
        return tuple(s.tokens * (1 - sigma) * d**2 / (((1 - sigma) * d) ** 2 + sigma**2) for s in (video, audio))

    video, audio = make_noise(SETTINGS)
    start = video_state(SETTINGS, video).tokens
    error = {}
    for sampler in ("euler", "heun"):
        for steps in (8, 16):
            end, _ = run_loop(exact_x0, video_state(SETTINGS, video), audio_state(audio), torch.linspace(1, 0.2, steps + 1), sampler=sampler)
            error[sampler, steps] = (end.tokens - start * ((0.8 * d) ** 2 + 0.2**2) ** 0.5).norm()
    assert 1.7 < error["euler", 8] / error["euler", 16] < 2.5
    assert 3.3 < error["heun", 8] / error["heun", 16] < 5.0 and error["heun", 8] < error["euler", 8] / 5


def test_keyframes_that_do_not_fit_are_refused():
    noise = torch.zeros(1, 128, 2, 2, 3)
    with pytest.raises(LTX2Error, match="does not fit"):
        video_state(SETTINGS, noise, (Keyframe(torch.zeros(1, 128, 1, 2, 2)),))
    with pytest.raises(LTX2Error, match="does not fit"):
        video_state(SETTINGS, noise, (Keyframe(torch.zeros(1, 128, 2, 2, 3), 1),))
