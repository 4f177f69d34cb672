"""Sigma's distributions against their formulas, by the distance between empirical and exact distribution functions."""

import math
from dataclasses import replace

import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.train.randomness import generator
from ltx2core.train.settings import TimestepSettings
from ltx2core.train.timesteps import draw_sigma, offset_of, token_mean

COUNT = 40_000
# Kolmogorov-Smirnov distance that a true sample of this size exceeds once in about 10^6 cases.
LIMIT = math.sqrt(math.log(2e6) / 2 / COUNT)


def normal_cdf(x):
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def logit(p):
    return torch.log(p) - torch.log1p(-p)


def distance(samples, cdf):
    """Largest gap between the samples' distribution and ``cdf``."""
    x = samples.double().sort().values
    n = len(x)
    exact = cdf(x)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    return max((exact - steps[:-1]).max().item(), (steps[1:] - exact).max().item())


def sample(settings, tokens=2880, seed=1):
    return draw_sigma(settings, tokens, torch.Generator().manual_seed(seed), COUNT)


def stretched_cdf(mean, std, uniform):
    """P(sigma <= x) of the mixture, with the mass below 1e-3 folded back above it and the mass above 1 put on 1."""
    low, high = (1 / (1 + math.exp(-(mean + std * q))) for q in (-2.5758293035489004, 3.090232306167813))

    def raw(x):
        u = (low + x * (high - low)).clamp(1e-12, 1 - 1e-12)
        return normal_cdf((logit(u) - mean) / std)

    def cdf(x):
        folded = raw(x) - raw(2e-3 - x)
        return (1 - uniform) * torch.where(x >= 1, torch.ones_like(x), folded) + uniform * (x - 1e-3) / (1 - 1e-3)

    return cdf


@pytest.mark.parametrize("tokens, shift", [(1024, math.exp(0.95)), (4096, math.exp(2.05)), (2880, 5.0), (5850, 14.6)])
def test_shift_by_token_count(tokens, shift):
    """exp of the mean is the shift; 5.0 at 2880 and 14.6 at 5850 tokens are the known figures for patch size 1."""
    assert math.exp(token_mean(tokens)) == pytest.approx(shift, rel=0.01)


@pytest.mark.parametrize("tokens", [125, 1024, 6144])
@pytest.mark.parametrize("uniform", [0.0, 0.1])
def test_shifted_logit_normal(tokens, uniform):
    values = sample(TimestepSettings(uniform_fraction=uniform), tokens)
    assert values.min() >= 1e-3 and values.max() <= 1
    inner = values[values < 1]
    cdf = stretched_cdf(0.95 + (tokens - 1024) * 1.1 / 3072, 1.0, uniform)
    # Compare where the function is continuous, then the mass on 1 by itself: 0.1 % above the 99.9 % quantile.
    below_one = 1 - 0.001 * (1 - uniform)
    assert distance(inner, lambda x: cdf(x) / below_one) < LIMIT
    assert (values == 1).double().mean().item() == pytest.approx(1 - below_one, abs=6 * math.sqrt(0.001 / COUNT))


def test_the_shift_matters():
    few, many = (sample(TimestepSettings(), t).mean().item() for t in (1024, 6144))
    assert many > few + 0.1


@pytest.mark.parametrize("shift", [None, 3.0])
def test_logit_normal_with_static_shift(shift):
    values = sample(TimestepSettings("logit_normal", mean=0.3, std=0.8, shift=shift))
    s = shift or 1.0

    def cdf(x):
        return normal_cdf((logit(x / (s - (s - 1) * x)) - 0.3) / 0.8)

    assert distance(values, cdf) < LIMIT


def test_uniform():
    assert distance(sample(TimestepSettings("uniform")), lambda x: x) < LIMIT


def test_beta():
    """Beta(2, 3): x^2 (6 - 8x + 3x^2)."""
    values = sample(TimestepSettings("beta", alpha=2.0, beta=3.0))
    assert distance(values, lambda x: x**2 * (6 - 8 * x + 3 * x**2)) < LIMIT


@pytest.mark.parametrize("kind", ["shifted_logit_normal", "logit_normal", "uniform", "beta"])
def test_the_same_seed_draws_the_same(kind):
    settings = TimestepSettings(kind)
    assert torch.equal(sample(settings, seed=3), sample(settings, seed=3))
    assert not torch.equal(sample(settings, seed=3), sample(settings, seed=4))


@pytest.mark.parametrize("kind", ["shifted_logit_normal", "logit_normal", "uniform", "beta"])
def test_an_offset_moves_the_logit(kind):
    settings = TimestepSettings(kind, alpha=2.0, beta=3.0, uniform_fraction=0.0)
    plain, moved = (draw_sigma(settings, 2000, generator(1), 500, offset).double() for offset in (0.0, -0.7))
    if kind == "shifted_logit_normal":  # stretched: compare with the mean that is lower by 0.7
        expected = draw_sigma(replace(settings, mean=-0.7), 2000, generator(1), 500).double()
    else:
        expected = 1 / (1 + ((1 - plain) / plain) * math.exp(0.7))
    assert torch.allclose(moved, expected, atol=1e-5) and (moved < plain).float().mean() > 0.95


def test_offsets_belong_to_clips_by_path():
    settings = TimestepSettings(offsets=(("*/faces/*", -0.5), ("*/faces/a*", 2.0), ("*.mov", 1.0)))
    found = [offset_of(settings, p) for p in ("data/faces/a.mp4", "C:\\data\\faces\\b.mp4", "data/x.mov", "data/x.mp4")]
    assert found == [-0.5, -0.5, 1.0, 0.0]
    named = TimestepSettings(offsets=(("faces", -0.5), ("clips/a*", 0.2)))
    assert [offset_of(named, "/data/clips/a.mp4", "faces"), offset_of(named, "/data/clips/a.mp4", "b"), offset_of(named, "/data/clips/b.mp4", "b")] == [-0.5, 0.2, 0.0]
    with pytest.raises(LTX2Error, match="timesteps.offsets"):
        TimestepSettings(offsets=(("*",),))
