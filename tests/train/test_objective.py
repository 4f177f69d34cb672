"""Losses against formulas written out, masks, and gradients against finite differences."""

from dataclasses import replace

import pytest
import torch

from ltx2core.train.batch import assemble, fixed_draw, prepare
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective, masked_means, pointwise_loss
from ltx2core.train.settings import LoRASettings, TrainSettings
from ltx2core.train.step import EagerEngine, training_step
from ltx2core.train.targets import preset_modules
from ltx2core.train.tread import TreadRoute

SETTINGS = TrainSettings(dtype="float32")


@pytest.fixture
def numbers():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(3, 4, 2, generator=generator), torch.randn(3, 4, 2, generator=generator)


@pytest.mark.parametrize("kind", ["l2", "huber", "smooth_l1"])
def test_pointwise_losses(kind, numbers):
    c, loss = 0.3, pointwise_loss(*numbers, kind, 0.3)
    for p, t, value in zip(*(n.flatten().tolist() for n in numbers), loss.flatten().tolist(), strict=True):
        d = p - t
        root = (d * d + c * c) ** 0.5 - c
        assert value == pytest.approx({"l2": d * d, "huber": 2 * c * root, "smooth_l1": 2 * root}[kind], rel=1e-4, abs=1e-6)


def test_masked_means_by_hand(numbers):
    loss = numbers[0] ** 2
    mask = torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    per_sample, mean = masked_means(loss, mask)
    first = sum(loss[0, n, c].item() for n in (0, 1) for c in (0, 1)) / 4
    third = sum(loss[2, n, c].item() for n in range(4) for c in (0, 1)) / 8
    assert per_sample.tolist() == pytest.approx([first, 0.0, third]) and mean.item() == pytest.approx((first + third) / 2)
    assert masked_means(loss, torch.zeros(3, 4))[1].item() == 0.0


def test_step_losses_from_the_definition(model, make_sample):
    """The loss of a batch, put together from x0, noise and sigma by hand."""
    samples = [make_sample(1), make_sample(2, audio=False)]
    inputs = prepare(samples, 3, SETTINGS, torch.float32)
    losses = training_step(model, inputs, Objective(audio_weight=0.5))
    from ltx2core.models.forward import denoise

    video, audio = denoise(model, inputs.video.modality(), inputs.audio.modality())
    x0 = torch.stack([s.video_latents.float().flatten(1).T for s in samples])
    noise = (inputs.video.tokens - (1 - inputs.video.sigma[:, None, None]) * x0) / inputs.video.sigma[:, None, None]
    assert (noise.std() - 1).abs() < 0.1
    expected = [(v - (n - x)).pow(2).mean().item() for v, n, x in zip(video, noise, x0, strict=True)]
    assert losses.video_samples.tolist() == pytest.approx(expected, rel=1e-3)
    sound = samples[0].audio_latents.float().transpose(0, 1).flatten(1)
    sigma = inputs.audio.sigma[0]
    sound_noise = (inputs.audio.tokens[0] - (1 - sigma) * sound) / sigma
    assert losses.audio.item() == pytest.approx((audio[0] - (sound_noise - sound)).pow(2).mean().item(), rel=1e-3)
    assert losses.total.item() == pytest.approx(losses.video.item() + 0.5 * losses.audio.item(), rel=1e-6)


def test_a_mask_weighs_the_loss_of_its_cells(model, make_sample):
    """sum(w * error) / sum(w) over a clip's cells, the mean over clips that have any weight, and the sound as it was."""
    weights = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(4)).round(decimals=2)
    weights[1, 0, 1] = 0
    plain = [make_sample(1), make_sample(2), make_sample(3)]
    masked = [replace(plain[0], mask=weights), plain[1], replace(plain[2], mask=torch.zeros(3, 2, 2))]
    whole, inputs = (prepare(samples, 3, SETTINGS, torch.float32) for samples in (plain, masked))
    assert torch.equal(inputs.video.tokens, whole.video.tokens)
    losses, before = (training_step(model, i, Objective()) for i in (inputs, whole))
    from ltx2core.models.forward import denoise

    error = (denoise(model, inputs.video.modality(), inputs.audio.modality())[0] - inputs.video.target).pow(2).mean(2)
    w = [weights[f, y, x].item() for f in range(3) for y in range(2) for x in range(2)]
    first = sum(a * b for a, b in zip(w, error[0].tolist(), strict=True)) / sum(w)
    second = sum(error[1].tolist()) / 12
    assert losses.video_samples.tolist() == pytest.approx([first, second, 0.0], rel=1e-5) and losses.video.item() == pytest.approx((first + second) / 2, rel=1e-5)
    assert abs(first - before.video_samples[0].item()) > 1e-3 and losses.audio.item() == before.audio.item()


def test_a_mask_is_not_what_a_clip_is_given(make_sample):
    """With a clean first frame the mask counts on the others; a route of TREAD prefers what is given, not what is masked out."""
    weights = torch.ones(3, 2, 2)
    weights[2] = 0
    settings = TrainSettings(first_frame_probability=1.0, tread=(TreadRoute(0.5, 0, 1),))
    inputs = [prepare([replace(make_sample(1), mask=m)], 3, settings, torch.float32) for m in (weights, None)]
    assert inputs[0].video.mask[0].tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 4 and inputs[1].video.mask[0].tolist() == [0.0] * 4 + [1.0] * 8
    assert torch.equal(*(i.video.timesteps for i in inputs)) and torch.equal(*(i.routes[0] for i in inputs))


def gradients(model, inputs, objective, modules, seed=0):
    with injected(model, LoRASettings(rank=2), modules, seed, torch.float32) as lora:
        with torch.no_grad():
            for i, p in enumerate(lora.parameters.values()):
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(i)) * 0.1)
        losses = EagerEngine(model, objective, torch.device("cpu"), True)(inputs)
        return losses, {n: None if p.grad is None else p.grad.clone() for n, p in lora.parameters.items()}


def test_a_clip_without_sound_does_not_dilute_the_sound(model, make_sample):
    modules = preset_modules("audio_only", 2)
    loud, mute = make_sample(1), make_sample(2, audio=False)
    draws = [fixed_draw(s, 0.6, 0, i) for i, s in enumerate((loud, mute))]
    alone, alone_grad = gradients(model, assemble([loud], draws[:1], torch.float32), Objective(), modules)
    mixed, mixed_grad = gradients(model, assemble([loud, mute], draws, torch.float32), Objective(), modules)
    assert mixed.audio.item() == pytest.approx(alone.audio.item(), rel=1e-5) and mixed.audio_samples[1] == 0
    name = "transformer_blocks.1.audio_ff.net.2.lora_B.weight"  # of the last block: reaches the sound's output only
    assert alone_grad[name].abs().max() > 0 and torch.allclose(mixed_grad[name], alone_grad[name], rtol=1e-3, atol=1e-7)


def test_audio_weight_zero_means_zero(model, make_sample):
    inputs = prepare([make_sample(1)], 0, SETTINGS, torch.float32)
    name = "transformer_blocks.1.audio_ff.net.2.lora_B.weight"
    _, with_sound = gradients(model, inputs, Objective(), preset_modules("audio_only", 2))
    losses, without = gradients(model, inputs, Objective(audio_weight=0.0), preset_modules("audio_only", 2))
    assert with_sound[name].abs().max() > 0 and (without[name] is None or without[name].abs().max() == 0)
    assert losses.total == losses.video and losses.audio > 0


@pytest.mark.parametrize("kind", ["l2", "huber", "smooth_l1"])
def test_gradients_against_finite_differences(kind, model, make_sample, monkeypatch):
    """Directional derivative of the whole step's loss by every adapter matrix at once, and by one matrix of each stream.

    diffusers casts to float32 inside (RoPE and the norms); here the casts keep float64, so that differences are exact enough.
    """
    cast = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a, **k: cast(self, *(torch.float64 if x is torch.float32 else x for x in a), **k))
    settings = TrainSettings(dtype="float32", first_frame_probability=1.0)
    inputs = prepare([make_sample(1), make_sample(2)], 0, settings, torch.float32)
    objective = Objective(kind, 0.2, 0.7)
    model.double()
    inputs = inputs.map(lambda t: t.double())
    with injected(model, LoRASettings(rank=2), preset_modules("audio_video", 2), 0, torch.float64) as lora:
        generator = torch.Generator().manual_seed(9)
        with torch.no_grad():
            for p in lora.parameters.values():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) * 0.1)
        EagerEngine(model, objective, torch.device("cpu"), True)(inputs)
        picks = [tuple(lora.parameters), ("transformer_blocks.0.attn1.to_q.lora_A.weight",), ("transformer_blocks.0.audio_attn2.to_v.lora_B.weight",)]
        for names in picks:
            ways = {n: torch.randn(lora.parameters[n].shape, generator=generator, dtype=torch.float64) for n in names}
            length = torch.stack([w.norm() for w in ways.values()]).norm()
            slope = sum((lora.parameters[n].grad * w).sum().item() for n, w in ways.items()) / length.item()
            h, ends = 1e-4, []
            with torch.no_grad():
                for offset in (h, -2 * h):
                    for n, w in ways.items():
                        lora.parameters[n] += offset * w / length
                    ends.append(training_step(model, inputs, objective).total.item())
                for n, w in ways.items():
                    lora.parameters[n] += h * w / length
            assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6), names


def test_first_frame_tokens_are_clean_and_have_no_loss(model, make_sample):
    sample = make_sample(1)
    inputs = prepare([sample], 0, TrainSettings(first_frame_probability=1.0), torch.float32)
    cells = sample.video_latents.shape[2] * sample.video_latents.shape[3]
    assert torch.equal(inputs.video.tokens[0, :cells], sample.video_latents[:, 0].float().flatten(1).T)
    assert inputs.video.timesteps[0, :cells].eq(0).all() and inputs.video.timesteps[0, cells:].eq(inputs.video.sigma[0]).all()
    assert inputs.video.mask[0, :cells].eq(0).all() and inputs.video.mask[0, cells:].eq(1).all()
    losses = training_step(model, inputs, Objective())
    moved = inputs.map(torch.clone)
    moved.video.target[0, :cells] += 100
    assert training_step(model, moved, Objective()).video.item() == losses.video.item()


@pytest.mark.parametrize("probability, low, high", [(0.0, 0, 0), (0.3, 45, 75), (1.0, 200, 200)])
def test_first_frame_probability(probability, low, high, make_sample):
    sample = make_sample(1, frames=2, height=1, width=1)
    settings = TrainSettings(first_frame_probability=probability)
    hits = sum(prepare([sample], step, settings, torch.float32).video.timesteps is not None for step in range(200))
    assert low <= hits <= high


def test_a_picture_is_never_given_whole(make_sample):
    inputs = prepare([make_sample(1, frames=1)], 0, TrainSettings(first_frame_probability=1.0), torch.float32)
    assert inputs.video.timesteps is None and inputs.video.mask.eq(1).all()
