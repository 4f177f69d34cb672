"""The sigmas of a sampling run, from 1 to 0."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import LTX2Error

# mu of the shift is a straight line through these two points (latent tokens, mu).
_FEW, _MANY = (1024, 0.95), (4096, 2.05)
_TERMINAL = 0.1  # the last sigma before 0, after stretching
OFFICIAL_TOKENS = _MANY[0]  # what the official pipelines assume whatever the size is

# The lists that the distilled checkpoint and adapter were trained on (ltx-pipelines).
DISTILLED = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)
SECOND_STAGE = (0.909375, 0.725, 0.421875, 0.0)

SCHEDULES = ("dynamic", "official", "distilled")


def shift_mu(tokens: int) -> float:
    slope = (_MANY[1] - _FEW[1]) / (_MANY[0] - _FEW[0])
    return _FEW[1] + slope * (tokens - _FEW[0])


def dynamic_shift(steps: int, tokens: int = OFFICIAL_TOKENS) -> Tensor:
    """float32 [steps + 1]: linspace(1, 0) shifted by exp(mu) / (exp(mu) + 1/sigma - 1), stretched to end at 0.1, then 0.

    Source: the scheduler of the official pipelines; ``mu`` is linear in ``tokens`` and not clamped.
    """
    if steps < 1:
        raise LTX2Error(f"{steps} steps were asked for; give at least 1.")
    sigmas = torch.linspace(1, 0, steps + 1)[:-1]
    e = math.exp(shift_mu(tokens))
    sigmas = e / (e + 1 / sigmas - 1)
    remaining = 1 - sigmas
    if steps > 1:
        sigmas = 1 - remaining / (remaining[-1] / (1 - _TERMINAL))
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def schedule(name: str, steps: int, tokens: int) -> Tensor:
    """``dynamic``: by this clip's tokens; ``official``: as if it had 4096; ``distilled``: the fixed 8 steps."""
    if name == "distilled":
        return torch.tensor(DISTILLED)
    if name not in SCHEDULES:
        raise LTX2Error(f"The schedule {name!r} is not known; choose one of {', '.join(SCHEDULES)}.")
    return dynamic_shift(steps, tokens if name == "dynamic" else OFFICIAL_TOKENS)
