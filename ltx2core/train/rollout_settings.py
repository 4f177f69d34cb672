"""What scheduled sampling is asked to do; the method is in ``rollout.py``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import LTX2Error
from .checks import check_choice, check_range, check_whole

# Sampler -> orders that it has.
ORDERS = {"euler": (1,), "heun": (2,), "dpm": (1, 2), "unipc": (1, 2, 3)}
STRATEGIES = ("uniform", "biased_early", "biased_late")
RAMPS = ("linear", "cosine")


@dataclass(frozen=True)
class RolloutSettings:
    """max_step_offset: most solver steps before a sample's sigma, 0 switches rollouts off. probability: of a rollout; with
    ramp_steps it goes from probability_start to probability_end over that many steps from start_step on; before start_step there
    are none. strategy: how
    the number of steps is drawn from 0..max: uniform, biased_early (small ones), biased_late. steps: solver steps from
    noise to data. sampler and order: euler (1), heun (2), dpm (DPM-Solver++, 1 or 2), unipc (1 to 3);
    0 is the sampler's highest.
    """

    max_step_offset: int = 0
    probability: float = 0.5
    probability_start: float = 0.0
    probability_end: float = 0.5
    ramp_steps: int = 0
    start_step: int = 0
    ramp_shape: str = "linear"
    strategy: str = "uniform"
    steps: int = 30
    sampler: str = "euler"
    order: int = 0

    def __post_init__(self) -> None:
        for name, low in (("max_step_offset", 0), ("ramp_steps", 0), ("start_step", 0), ("steps", 1), ("order", 0)):
            check_whole(f"rollout.{name}", getattr(self, name), low)
        for name in ("probability", "probability_start", "probability_end"):
            check_range(f"rollout.{name}", getattr(self, name), 0, 1)
        check_choice("rollout.ramp_shape", self.ramp_shape, RAMPS)
        check_choice("rollout.strategy", self.strategy, STRATEGIES)
        check_choice("rollout.sampler", self.sampler, tuple(ORDERS))
        if self.order and self.order not in ORDERS[self.sampler]:
            raise LTX2Error(f"rollout.order is {self.order} and the sampler {self.sampler} has {' or '.join(map(str, ORDERS[self.sampler]))}; choose another.")
        if self.max_step_offset >= self.steps:
            raise LTX2Error(f"rollout.max_step_offset is {self.max_step_offset}; it must be below rollout.steps, {self.steps}.")

    def probability_at(self, step: int) -> float:
        """Of a rollout in optimizer step ``step`` (from 0)."""
        if step < self.start_step:
            return 0.0
        if not self.ramp_steps:
            return self.probability
        done = min(1.0, (step - self.start_step) / self.ramp_steps)
        shape = done if self.ramp_shape == "linear" else 0.5 * (1 - math.cos(math.pi * done))
        return self.probability_start + (self.probability_end - self.probability_start) * shape
