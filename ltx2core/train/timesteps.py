"""How noisy a training sample is made: sigma in 0..1, drawn from a torch.Generator. Pure functions.

Formulas: Esser et al. 2024 (logit-normal; shift s*u/(1+(s-1)*u)); the shift by token count, the stretch between two
quantiles, the reflection and the uniform share are those that Lightricks' trainer documents for LTX-2.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import torch
from torch import Generator, Tensor

from .settings import TimestepSettings

# (tokens, mean of the normal) at two points of the line, not clamped outside them.
TOKENS_LOW, MEAN_LOW = 1024, 0.95
TOKENS_HIGH, MEAN_HIGH = 4096, 2.05
# 0.5 % and 99.9 % quantiles of the standard normal: they become 0 and 1 after the stretch.
QUANTILE_LOW, QUANTILE_HIGH = -2.5758293035489004, 3.090232306167813
SMALLEST = 1e-3


def token_mean(tokens: int) -> float:
    """Mean of the normal before the sigmoid for ``tokens`` tokens (patch size 1); shift by exp of it is the same."""
    return MEAN_LOW + (tokens - TOKENS_LOW) * (MEAN_HIGH - MEAN_LOW) / (TOKENS_HIGH - TOKENS_LOW)


def static_shift(u: Tensor, shift: float) -> Tensor:
    """Moves u in 0..1 towards noise for shift > 1; 0 and 1 stay."""
    return shift * u / (1 + (shift - 1) * u)


def stretched_logit_normal(normal: Tensor, mean: float, std: float) -> Tensor:
    """Sigmoid of mean + std * normal, stretched so that two quantiles become 0 and 1, reflected at SMALLEST, cut at 1.

    Args:
        normal: standard normal draws.
    """
    low = 1 / (1 + math.exp(-(mean + std * QUANTILE_LOW)))
    high = 1 / (1 + math.exp(-(mean + std * QUANTILE_HIGH)))
    stretched = (torch.sigmoid(mean + std * normal) - low) / (high - low)
    reflected = torch.where(stretched < SMALLEST, 2 * SMALLEST - stretched, stretched)
    return reflected.clamp(0, 1)


def _beta(alpha: float, beta: float, count: int, generator: Generator) -> Tensor:
    """Beta(alpha, beta) draws: a gamma's share of the sum of two gammas."""
    a, b = (torch._standard_gamma(torch.full((count,), float(v), dtype=torch.float64), generator=generator) for v in (alpha, beta))
    return (a / (a + b)).float()


def offset_of(settings: TimestepSettings, path: str, dataset: str = "") -> float:
    """The offset of the clip at ``path``: of the first pattern that is the name of its dataset, or fits its path or the
    path's end, else 0.
    """
    path = path.replace("\\", "/")
    fits = (offset for pattern, offset in settings.offsets if pattern == dataset or fnmatchcase(path, pattern) or fnmatchcase(path, f"*/{pattern}"))
    return next(fits, 0.0)


def draw_sigma(settings: TimestepSettings, tokens: int, generator: Generator, count: int = 1, offset: float = 0.0) -> Tensor:
    """``count`` sigmas for a stream of ``tokens`` tokens: float32 [count] in 0..1.

    Args:
        offset: added to the mean before the sigmoid; for draws without a normal it is the shift by its exponential,
            which is the same: logit(shift(u, s)) = logit(u) + log s.
    """
    if settings.kind == "shifted_logit_normal":
        return _shifted_logit_normal(settings, tokens, generator, count, offset)
    if settings.kind == "uniform":
        u = torch.rand(count, generator=generator)
    elif settings.kind == "logit_normal":
        u = torch.sigmoid(settings.mean + settings.std * torch.randn(count, generator=generator))
    else:
        u = _beta(settings.alpha, settings.beta, count, generator)
    shift = (settings.shift or 1.0) * math.exp(offset)
    return u if shift == 1 else static_shift(u, shift)


def _shifted_logit_normal(settings: TimestepSettings, tokens: int, generator: Generator, count: int, offset: float) -> Tensor:
    mean = offset + settings.mean + (token_mean(tokens) if settings.shift is None else math.log(settings.shift))
    sigma = stretched_logit_normal(torch.randn(count, generator=generator), mean, settings.std)
    uniform = SMALLEST + (1 - SMALLEST) * torch.rand(count, generator=generator)
    return torch.where(torch.rand(count, generator=generator) < settings.uniform_fraction, uniform, sigma)
