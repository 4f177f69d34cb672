"""Our forward pass against diffusers' own, which has two of the three cross-timestep rules."""

from dataclasses import replace

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx2core.errors import LTX2Error
from ltx2core.models.forward import Modality, denoise
from ltx2core.models.latents import audio_coords, pack_audio, pack_video, unpack_audio, unpack_video, video_coords

B, F, H, W, T, S = 2, 3, 2, 3, 7, 6


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = LTX2VideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=4, attention_head_dim=24, cross_attention_dim=96,
        audio_in_channels=16, audio_out_channels=16, audio_num_attention_heads=4, audio_attention_head_dim=12,
        audio_cross_attention_dim=48, num_layers=2, caption_channels=40, rope_type="split",
    ).eval()  # fmt: skip
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p) * (0.15 if p.ndim > 1 else 0.3))
    return model


def streams(model, i2v=False):
    g = torch.Generator().manual_seed(1)
    rand = lambda *s: torch.randn(*s, generator=g)  # noqa: E731
    sigma, audio_sigma = torch.tensor([0.7, 0.35]), torch.tensor([0.2, 0.9])
    steps = sigma[:, None].expand(B, F * H * W).clone()
    if i2v:
        steps[:, : H * W] = 0
    video = Modality(rand(B, F * H * W, 8), sigma, video_coords(B, F, H, W, 25.0), rand(B, S, 40), steps)
    audio = Modality(rand(B, T, 16), audio_sigma, audio_coords(B, T), rand(B, S, 40))
    return video, audio


def theirs(model, video, audio, cross):
    with torch.no_grad():
        return model(
            hidden_states=video.tokens, audio_hidden_states=audio.tokens, encoder_hidden_states=video.text,
            audio_encoder_hidden_states=audio.text, timestep=video.timesteps * 1000, audio_timestep=audio.sigma[:, None].expand(B, T) * 1000,
            sigma=video.sigma * 1000, audio_sigma=audio.sigma * 1000, num_frames=F, height=H, width=W, fps=25.0, audio_num_frames=T,
            use_cross_timestep=cross, return_dict=False,
        )  # fmt: skip


@pytest.mark.parametrize("i2v", [False, True])
@pytest.mark.parametrize("rule,cross", [("legacy", False), ("cross", True)])
def test_equals_diffusers_where_diffusers_has_the_rule(model, rule, cross, i2v):
    video, audio = streams(model, i2v)
    with torch.no_grad():
        ours = denoise(model, video, audio, av_cross_timestep=rule)
    for a, b in zip(ours, theirs(model, video, audio, cross), strict=True):
        assert (a - b).abs().max() < 1e-5 and b.abs().max() > 1


def test_official_rule_differs_from_both_when_sigmas_differ(model):
    video, audio = streams(model, i2v=True)
    with torch.no_grad():
        official = denoise(model, video, audio)[0]
        others = [denoise(model, video, audio, av_cross_timestep=r)[0] for r in ("cross", "legacy")]
    assert all((official - o).abs().max() > 1e-3 for o in others)


def test_rules_agree_for_plain_t2v(model):
    video, audio = streams(model)
    video, audio = video.with_tokens(video.tokens, video.sigma, None), audio.with_tokens(audio.tokens, video.sigma, None)
    with torch.no_grad():
        out = [denoise(model, video, audio, av_cross_timestep=r) for r in ("official", "cross", "legacy")]
    for other in out[1:]:
        assert max((a - b).abs().max() for a, b in zip(out[0], other, strict=True)) < 1e-4


def test_checkpointed_gradients_equal_plain_ones(model):
    video, audio = streams(model)
    grads = []
    for on in (False, True):
        model.gradient_checkpointing = on
        model.zero_grad()
        sum(x.square().mean() for x in denoise(model, video, audio)).backward()
        grads.append(model.transformer_blocks[0].attn1.to_q.weight.grad.clone())
    model.gradient_checkpointing = False
    assert torch.equal(*grads) and grads[0].abs().max() > 0


def test_coords_equal_diffusers(model):
    ours, theirs = video_coords(B, F, H, W, 25.0), model.rope.prepare_video_coords(B, F, H, W, torch.device("cpu"), fps=25.0)
    assert torch.equal(ours, theirs)
    assert torch.allclose(audio_coords(B, T), model.audio_rope.prepare_audio_coords(B, T, torch.device("cpu")), atol=1e-7)


def test_packing_round_trips_in_the_documented_order():
    x = torch.arange(2 * 3 * 2 * 2 * 2.0).reshape(2, 3, 2, 2, 2)
    assert torch.equal(unpack_video(pack_video(x), 2, 2, 2), x)
    assert torch.equal(pack_video(x)[0, 5], x[0, :, 1, 0, 1])
    a = torch.arange(8 * 5 * 16.0).reshape(1, 8, 5, 16)
    assert torch.equal(unpack_audio(pack_audio(a)), a)
    assert pack_audio(a)[0, 2, 3 * 16 + 4] == a[0, 3, 2, 4]


def test_unknown_rule_is_refused(model):
    with pytest.raises(LTX2Error, match="official"):
        denoise(model, *streams(model), av_cross_timestep="hybrid")


@pytest.mark.parametrize("rule", ["official", "cross", "legacy"])
def test_two_timesteps_a_sample_equal_one_a_token(model, rule):
    video, audio = streams(model, i2v=True)
    steps = torch.where(torch.arange(T) % 3 == 0, 0.0, audio.sigma[:, None])
    audio = audio.with_tokens(audio.tokens, audio.sigma, steps)
    by_sample = [replace(s, timesteps=None, noisy=s.timesteps > 0) for s in (video, audio)]
    with torch.no_grad():
        truth, ours = denoise(model, video, audio, av_cross_timestep=rule), denoise(model, *by_sample, av_cross_timestep=rule)
    for a, b in zip(ours, truth, strict=True):
        assert (a - b).abs().max() < 1e-5 and b.abs().max() > 1
    for one, other in zip(by_sample, (video, audio), strict=True):
        assert torch.equal(one.token_timesteps, other.timesteps) and one.modulation_timesteps.shape == (B, 2)
