"""Scheduled sampling and ReflexFlow, each against a formula written out here."""

import math
from dataclasses import replace

import pytest
import torch
from diffusers import UniPCMultistepScheduler

from ltx2core.errors import LTX2Error
from ltx2core.train.batch import prepare
from ltx2core.train.conditioning import Condition, ConditioningSettings
from ltx2core.train.loop import train
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.reflexflow import ReflexFlowSettings, anti_drift, exposure_weight
from ltx2core.train.rollout import draw_offsets, paths, roll_out, with_reflexflow
from ltx2core.train.rollout_settings import ORDERS, RolloutSettings
from ltx2core.train.settings import LoRASettings, RunConfig, TimestepSettings, TrainSettings
from ltx2core.train.step import EagerEngine, training_step
from ltx2core.train.targets import preset_modules
from ltx2core.train.tread import TreadRoute
from ltx2core.train.unipc import UniPC

CPU = torch.device("cpu")


@pytest.fixture
def engine(model):
    return EagerEngine(model, Objective(), CPU, False)


def known(inputs):
    """x0 and noise of both streams."""
    streams = (inputs.video, inputs.audio)
    clean = [s.tokens - s.sigma[:, None, None] * s.target for s in streams]
    return clean, [c + s.target for c, s in zip(clean, streams, strict=True)]


def at(inputs, states, sigmas):
    streams = [replace(s, tokens=x, sigma=sigma) for s, x, sigma in zip((inputs.video, inputs.audio), states, sigmas, strict=True)]
    return replace(inputs, video=streams[0], audio=streams[1])


def by_hand(engine, inputs, k, step, sampler):
    """One sample, k steps from min(1, sigma + k*step) down to sigma, both streams."""
    clean, noise = known(inputs)
    ends = [inputs.video.sigma.item(), inputs.audio.sigma.item()]
    starts = [min(1.0, e + k * step) for e in ends]
    grids = [[s + (e - s) * i / k for i in range(k + 1)] for s, e in zip(starts, ends, strict=True)]
    x = [(1 - s) * c + s * n for s, c, n in zip(starts, clean, noise, strict=True)]
    before = [None, None]

    def velocity(states, i):
        return engine.predict(at(inputs, states, [torch.tensor([g[i]]) for g in grids]))

    for i in range(k):
        v = velocity(x, i)
        new = [y + (g[i + 1] - g[i]) * w for y, g, w in zip(x, grids, v, strict=True)]
        if sampler == "heun":
            u = velocity(new, i + 1)
            new = [y + (g[i + 1] - g[i]) * (w + z) / 2 for y, g, w, z in zip(x, grids, v, u, strict=True)]
        if sampler == "dpm":
            for j, g in enumerate(grids):
                s, e = g[i], g[i + 1]
                x0 = x[j].double() - s * v[j].double()
                d = x0
                if before[j] is not None and before[j][1] < 1:
                    lam = [math.log((1 - t) / t) for t in (before[j][1], s, e)]
                    r = (lam[1] - lam[0]) / (lam[2] - lam[1])
                    d = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * before[j][0]
                before[j] = (x0, s)
                decay = e * (1 - s) / ((1 - e) * s)  # exp(-h)
                new[j] = (e / s * x[j] + (1 - e) * (1 - decay) * d).float()
        x = new
    return x


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpm"])
def test_states_are_those_of_the_solver(sampler, engine, make_sample):
    inputs = prepare([make_sample(1)], 3, TrainSettings(), torch.float32)
    settings = RolloutSettings(max_step_offset=4, sampler=sampler, steps=12)
    rolled = roll_out(inputs, torch.tensor([4]), settings, engine.predict)
    expected = by_hand(engine, inputs, 4, 1 / 12, sampler)
    for ours, theirs, plain in zip((rolled.video, rolled.audio), expected, (inputs.video, inputs.audio), strict=True):
        assert torch.allclose(ours.tokens, theirs, atol=2e-4) and (ours.tokens - plain.tokens).abs().max() > 1e-2
        assert torch.equal(ours.target, plain.target) and torch.equal(ours.sigma, plain.sigma)


def scheduler(path, order):
    """diffusers' own, put on the sigmas of ``path``; its last steps are not of lower order, since the way goes on behind them."""
    made = UniPCMultistepScheduler(solver_order=order, prediction_type="flow_prediction", use_flow_sigmas=True, lower_order_final=False)
    made.set_timesteps(len(path) - 1)
    made.sigmas, made.timesteps = torch.tensor(path, dtype=torch.float64), torch.tensor(path[:-1], dtype=torch.float64) * 1000
    made.set_begin_index(0)
    return made


@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_is_that_of_diffusers(order, engine, make_sample):
    """Both streams on their own sigmas, five steps, with the corrector; the second sample begins later and is as if alone."""
    inputs = prepare([make_sample(1), make_sample(2)], 3, TrainSettings(timesteps=TimestepSettings("uniform")), torch.float32)
    sigmas = torch.tensor([0.3, 0.2]), torch.tensor([0.4, 0.1])
    clean, noise = known(inputs)
    inputs = at(inputs, [(1 - s[:, None, None]) * c + s[:, None, None] * n for s, c, n in zip(sigmas, clean, noise, strict=True)], sigmas)
    rolled = roll_out(inputs, torch.tensor([5, 2]), RolloutSettings(5, sampler="unipc", order=order, steps=20), engine.predict)
    for sample, k in ((0, 5), (1, 2)):
        alone = inputs.map(lambda t, i=sample: t[i : i + 1])
        grids = [[s[sample].item() + (k - i) / 20 for i in range(k + 1)] for s in sigmas]
        x = [((1 - g[0]) * c + g[0] * n)[sample : sample + 1].double() for g, c, n in zip(grids, clean, noise, strict=True)]
        solvers = [scheduler(g, order) for g in grids]
        for i in range(k):
            v = engine.predict(at(alone, [y.float() for y in x], [torch.tensor([g[i]]) for g in grids]))
            x = [s.step(w.double(), s.timesteps[i], y, return_dict=False)[0] for s, w, y in zip(solvers, v, x, strict=True)]
        for ours, theirs, plain in zip((rolled.video, rolled.audio), x, (inputs.video, inputs.audio), strict=True):
            assert torch.allclose(ours.tokens[sample].double(), theirs[0], atol=2e-5) and (ours.tokens[sample] - plain.tokens[sample]).abs().max() > 1e-2


def test_unipc_from_pure_noise():
    """There lambda is -inf: x0 + e * eps exactly by the predictor, and half of what the next x0 differs by from the corrector."""
    noise, first, second = (torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(3))
    solver = UniPC(2)
    x = solver.step(noise, noise - first, 1.0, 0.8)
    assert torch.allclose(x, 0.8 * noise + 0.2 * first)
    after = solver.step(x, (x - second) / 0.8, 0.8, 0.6)
    corrected = x + 0.2 * 0.5 * (second - first)
    assert torch.allclose(after, 0.75 * corrected + 0.25 * second)


def test_dpm_of_order_1_is_euler(engine, make_sample):
    inputs = prepare([make_sample(1)], 3, TrainSettings(), torch.float32)
    found = [roll_out(inputs, torch.tensor([3]), RolloutSettings(3, sampler=s, order=1), engine.predict).video.tokens for s in ("euler", "dpm")]
    assert torch.allclose(*found, atol=1e-5)


def test_a_perfect_model_stays_on_the_exact_states(make_sample):
    """Its velocity is the target at every sigma, so every solver ends where it should, whatever the offsets."""
    inputs = prepare([make_sample(1), make_sample(2), make_sample(3)], 0, TrainSettings(), torch.float32)
    for sampler in ORDERS:
        rolled = roll_out(inputs, torch.tensor([2, 0, 5]), RolloutSettings(5, sampler=sampler), lambda i: (i.video.target, i.audio.target))
        for a, b in ((rolled.video, inputs.video), (rolled.audio, inputs.audio)):
            assert torch.allclose(a.tokens, b.tokens, atol=1e-4)


def test_given_tokens_frozen_streams_and_other_samples_stay(engine, make_sample):
    settings = TrainSettings(conditioning=ConditioningSettings((Condition("first_frame"),), frozen_audio=1.0))
    inputs = prepare([make_sample(1), make_sample(2)], 0, settings, torch.float32)
    rolled = roll_out(inputs, torch.tensor([3, 0]), RolloutSettings(3), engine.predict)
    given = inputs.video.mask == 0
    assert torch.equal(rolled.video.tokens[given], inputs.video.tokens[given]) and torch.equal(rolled.audio.tokens, inputs.audio.tokens)
    assert torch.allclose(rolled.video.tokens[1], inputs.video.tokens[1], atol=1e-6) and not torch.allclose(rolled.video.tokens[0], inputs.video.tokens[0])


def test_a_sample_is_rolled_out_alone_as_in_a_batch(engine, make_sample):
    inputs = prepare([make_sample(1), make_sample(2)], 0, TrainSettings(), torch.float32)
    both = roll_out(inputs, torch.tensor([1, 3]), RolloutSettings(3, sampler="dpm"), engine.predict)
    alone = roll_out(inputs.map(lambda t: t[:1]), torch.tensor([1]), RolloutSettings(3, sampler="dpm"), engine.predict)
    assert torch.allclose(both.video.tokens[:1], alone.video.tokens, atol=1e-5)


def test_paths():
    found = paths(torch.tensor([0.5, 0.5, 0.95, 0.0]), torch.tensor([2, 0, 1, 2]), 0.1)
    assert torch.allclose(found, torch.tensor([[0.7, 0.6, 0.5], [0.5, 0.5, 0.5], [1.0, 1.0, 0.95], [0.0, 0.0, 0.0]]))


def test_offsets_follow_probability_and_strategy():
    def drawn(**options):
        settings = RolloutSettings(10, **options)
        return torch.cat([draw_offsets(settings, range(4), 0, 1, step) for step in range(600)]).float()

    half = drawn(probability=0.5)
    assert (half > 0).float().mean().item() == pytest.approx(0.5 * 10 / 11, abs=0.03)
    means = {s: drawn(probability=1.0, strategy=s).mean().item() for s in ("uniform", "biased_early", "biased_late")}
    assert means["uniform"] == pytest.approx(5, abs=0.3) and means["biased_early"] == pytest.approx(10 / 3, abs=0.3) and means["biased_late"] == pytest.approx(20 / 3, abs=0.3)
    assert drawn(probability=1.0).max() == 10


def test_probability_ramps():
    linear = RolloutSettings(5, probability_start=0.1, probability_end=0.5, ramp_steps=100, start_step=20)
    assert [linear.probability_at(s) for s in (0, 19, 20, 70, 120, 999)] == pytest.approx([0, 0, 0.1, 0.3, 0.5, 0.5])
    cosine = replace(linear, ramp_shape="cosine")
    assert cosine.probability_at(45) == pytest.approx(0.1 + 0.4 * (1 - math.cos(math.pi / 4)) / 2)
    assert RolloutSettings(5, probability=0.3, start_step=7).probability_at(6) == 0 and RolloutSettings(5, probability=0.3).probability_at(6) == 0.3


def test_exposure_weight_by_numbers():
    exact, prediction = torch.tensor([[[1.0, 2.0], [5.0, 5.0]]]), torch.tensor([[[0.0, -1.0], [9.0, 9.0]]])
    weight = exposure_weight(exact - prediction, torch.tensor([[1.0, 0.0]]), 0.5)
    assert torch.allclose(weight, torch.tensor([[[1 + 0.5 * 1 / 2, 1 + 0.5 * 3 / 2], [1.0, 1.0]]]))
    assert torch.equal(exposure_weight(exact - exact, torch.ones(1, 2), 3.0), torch.ones(1, 2, 2))


def test_exposure_weight_of_a_mask_between_0_and_1():
    """The mean is weighed by the mask, and the weight itself is not: 1 + alpha |e| / (sum w |e| / sum w)."""
    error = torch.tensor([[[-1.0], [4.0], [7.0]]])
    mean = (1.0 * 1 + 0.25 * 4) / 1.25
    found = exposure_weight(error, torch.tensor([[1.0, 0.25, 0.0]]), 2.0)
    assert torch.allclose(found[0, :, 0], torch.tensor([1 + 2 / mean, 1 + 8 / mean, 1.0]))


def test_exposure_weight_does_something_however_long_the_clip():
    generator = torch.Generator().manual_seed(0)
    for tokens in (10, 3000):
        a, b = (torch.randn(1, tokens, 128, generator=generator) for _ in range(2))
        assert exposure_weight(a - b, torch.ones(1, tokens), 1.0).std() > 0.5


def test_anti_drift_by_numbers():
    prediction = torch.tensor([[[3.0], [4.0], [99.0]], [[1.0], [0.0], [0.0]], [[1.0], [1.0], [1.0]]])
    drift = torch.tensor([[[6.0], [8.0], [1.0]], [[-5.0], [0.0], [0.0]], [[2.0], [3.0], [1.0]]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert torch.allclose(anti_drift(prediction, drift, mask), torch.tensor([0.0, 4.0, 0.0]), atol=1e-6)


def test_the_whole_loss_is_the_sum_of_its_terms(model, engine, make_sample):
    inputs = prepare([make_sample(1)], 3, TrainSettings(), torch.float32)
    rolled = roll_out(inputs, torch.tensor([3]), RolloutSettings(3), engine.predict)
    reflex = ReflexFlowSettings(alpha=0.7, beta1=2.0, beta2=0.5)
    losses = training_step(model, with_reflexflow(inputs, rolled, True, engine.predict), Objective(reflexflow=reflex, audio_weight=0))
    (clean, _), exact, here = known(inputs), engine.predict(inputs)[0], engine.predict(rolled)[0]
    e = (exact - here).abs()
    flow = ((here - inputs.video.target) ** 2 * (1 + 0.7 * e / e.mean())).mean()
    d = rolled.video.tokens - clean[0]
    drift = ((here / here.norm() - d / d.norm()) ** 2).sum()
    assert losses.total.item() == pytest.approx((0.5 * flow + 2.0 * drift).item(), rel=1e-4)


@pytest.mark.parametrize("way", ["dropout", "tread"])
def test_what_was_not_rolled_out_counts_once(way, model, make_sample):
    """Of a batch with one sample rolled out; e of that one is of its state alone, whatever dropout and routes do to the step's own prediction."""
    tread = (TreadRoute(0.5, 0, 0),) if way == "tread" else ()
    reflex = ReflexFlowSettings(alpha=0.7, beta1=0.0)
    inputs = prepare([make_sample(1), make_sample(2)], 3, TrainSettings(tread=tread), torch.float32)
    with injected(model, LoRASettings(rank=2, dropout=0.5 if way == "dropout" else 0.0), preset_modules("video", 2), 0, torch.float32) as lora:
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.add_(0.1)
        objective = Objective(reflexflow=reflex, tread=tread)
        engine = EagerEngine(model.eval(), objective, CPU, False)
        rolled = with_reflexflow(inputs, roll_out(inputs, torch.tensor([3, 0]), RolloutSettings(3), engine.predict), True, engine.predict)
        states = engine.predict(inputs), engine.predict(replace(rolled, routes=()))
        found = []
        for alpha in (reflex, replace(reflex, alpha=0.0)):
            found.append(training_step(model.train(way == "dropout"), rolled, replace(objective, reflexflow=alpha)))
    for stream, exact, here in zip((rolled.video, rolled.audio), *states, strict=True):
        assert torch.equal(stream.error[0], (exact - here)[0]) and stream.error[0].abs().max() > 1e-3 and not stream.error[1].any()
    for weighed, plain in ((found[0].video_samples, found[1].video_samples), (found[0].audio_samples, found[1].audio_samples)):
        assert weighed[0] > 1.1 * plain[0] and weighed[1] == plain[1]


def test_a_run_with_both(model, make_cache, tmp_path, surroundings):
    settings = TrainSettings(steps=3, warmup=0, dtype="float32", batch_size=2, rollout=RolloutSettings(2, probability=0.7), reflexflow=ReflexFlowSettings())
    cache = make_cache(tmp_path / "cache")
    first, second = (train(RunConfig(LoRASettings(rank=2), settings), model, cache, directory=tmp_path / n, **surroundings) for n in "ab")
    plain = train(RunConfig(LoRASettings(rank=2), replace(settings, rollout=RolloutSettings(), reflexflow=None)), model, cache, directory=tmp_path / "c", **surroundings)
    losses = [[r.loss for r in t.history.steps] for t in (first, second, plain)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("options, message", [
    ({"sampler": "ddim"}, "sampler"), ({"sampler": "unipc", "order": 4}, "order"), ({"sampler": "euler", "order": 2}, "order"), ({"max_step_offset": 30}, "max_step_offset"),
    ({"strategy": "late"}, "strategy"), ({"probability": 2}, "probability"), ({"ramp_shape": "step"}, "ramp_shape"),
])  # fmt: skip
def test_bad_values_are_named(options, message):
    with pytest.raises(LTX2Error, match=message):
        RolloutSettings(**options)
