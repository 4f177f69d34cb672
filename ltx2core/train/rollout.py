"""Scheduled sampling: some samples are trained on states that the model itself reached, not on exact mixtures with noise.

A sample at sigma begins k solver steps earlier, at an exact mixture, and is brought to its sigma without gradient, sound
with the picture. What it is to predict stays noise - x0. A step is 1/steps of sigma, as large as in sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .batch import StepInputs, StreamInputs
from .randomness import generator
from .rollout_settings import ORDERS, RolloutSettings
from .unipc import UniPC

# Velocities of picture and sound of one batch, float32 [B, N, C] each; without gradient.
Predict = Callable[[StepInputs], tuple[Tensor, Tensor]]


def draw_offsets(settings: RolloutSettings, slots: Sequence[int], optimizer_step: int, seed: int, step: int) -> Tensor:
    """int64 [B]: solver steps of the samples at the places ``slots`` of batch ``step``, 0 for no rollout."""
    offsets = []
    for slot in slots:
        happens, u = torch.rand(2, generator=generator(seed, "rollout", step, slot)).tolist()
        if settings.strategy == "uniform":
            count = min(int(u * (settings.max_step_offset + 1)), settings.max_step_offset)
        else:
            count = round((u * u if settings.strategy == "biased_early" else 1 - u * u) * settings.max_step_offset)
        offsets.append(count if happens < settings.probability_at(optimizer_step) else 0)
    return torch.tensor(offsets)


def paths(sigma: Tensor, offsets: Tensor, step: float) -> Tensor:
    """[B, K + 1], K the largest offset: each sample's sigmas down to its own; one with fewer steps waits at its first.

    A source above 1 is cut to 1, and the steps become smaller. A stream at sigma 0 is given and stays.
    """
    most = int(offsets.max())
    source = torch.where(sigma > 0, (sigma + offsets * step).clamp(max=1), sigma)
    done = torch.arange(most + 1)[None] - (most - offsets)[:, None]
    share = (done / offsets.clamp(min=1)[:, None]).clamp(0, 1)
    return torch.where(offsets[:, None] > 0, source[:, None] + (sigma - source)[:, None] * share, sigma[:, None])


class _Stream:
    """One stream on its way: state x [B, N, C] float32 and its sigmas by step."""

    def __init__(self, inputs: StreamInputs, path: Tensor):
        self.inputs, self.path = inputs, path.to(inputs.tokens.device)
        # Tokens that are given have timestep 0 and are never moved.
        self.moves = (torch.ones_like(inputs.mask) if inputs.timesteps is None else (inputs.timesteps > 0).float())[..., None]
        ahead = (self.path[:, 0] - inputs.sigma)[:, None, None]
        self.x = inputs.tokens.float() + ahead * inputs.target * self.moves
        self.before: tuple[Tensor, Tensor] | None = None
        self._solvers: list[UniPC] = []

    def at(self, x: Tensor, sigma: Tensor) -> StreamInputs:
        timesteps = None if self.inputs.timesteps is None else sigma[:, None] * self.moves[..., 0]
        return replace(self.inputs, tokens=x.to(self.inputs.tokens.dtype), sigma=sigma, timesteps=timesteps)

    def moved(self, velocity: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """An Euler step."""
        return self.x + (end - start)[:, None, None] * velocity * self.moves

    def dpm(self, velocity: Tensor, start: Tensor, end: Tensor, order: int) -> Tensor:
        """DPM-Solver++(2M), Lu et al. 2022, data prediction with alpha = 1 - sigma; order 1 is Euler's step."""
        s, e = (t.double()[:, None, None] for t in (start, end))
        x0 = self.x.double() - s * velocity.double()
        estimate = x0
        if order == 2 and self.before is not None:
            earlier_x0, earlier = self.before
            last = _half_log_snr(s) - _half_log_snr(earlier.double()[:, None, None])
            ratio = (_half_log_snr(e) - _half_log_snr(s)) / last  # 1/r; 0 behind a step that began at pure noise
            usable = torch.isfinite(last) & (last > 0) & torch.isfinite(ratio)
            estimate = torch.where(usable, x0 + torch.where(usable, ratio, 0.0) / 2 * (x0 - earlier_x0), x0)
        self.before = (x0, start)
        moved = torch.where(s > 0, e / s.clamp(min=1e-12), 1.0) * self.x + ((1 - e) - torch.where(s > 0, e * (1 - s) / s.clamp(min=1e-12), 1 - e)) * estimate
        return torch.where(((start != end)[:, None, None]) & (self.moves > 0), moved.float(), self.x)

    def unipc(self, velocity: Tensor, start: Tensor, end: Tensor, order: int) -> Tensor:
        """A step of every sample's own solver; those that wait have not begun."""
        self._solvers = self._solvers or [UniPC(order) for _ in self.x]
        new = self.x.clone()
        for i, (solver, s, e) in enumerate(zip(self._solvers, start.tolist(), end.tolist(), strict=True)):
            if s != e:
                new[i] = solver.step(self.x[i], velocity[i], s, e).to(new.dtype)
        return torch.where(self.moves > 0, new, self.x)


def _half_log_snr(sigma: Tensor) -> Tensor:
    return torch.log((1 - sigma) / sigma)


def roll_out(inputs: StepInputs, offsets: Tensor, settings: RolloutSettings, predict: Predict) -> StepInputs:
    """``inputs`` with the states that the model reaches from ``offsets`` [B] solver steps before; sigma and target stay.

    Args:
        inputs: on any device; routes are not used on the way.
        predict: the model, on the same device.
    """
    if not offsets.any():
        return inputs
    streams = [_Stream(s, paths(s.sigma.cpu(), offsets, 1 / settings.steps)) for s in (inputs.video, inputs.audio)]
    order = settings.order or max(ORDERS[settings.sampler])
    for i in range(int(offsets.max())):
        starts, ends = [s.path[:, i] for s in streams], [s.path[:, i + 1] for s in streams]
        velocities = predict(StepInputs(*(s.at(s.x, start) for s, start in zip(streams, starts, strict=True))))
        if settings.sampler in ("dpm", "unipc"):
            new = [getattr(s, settings.sampler)(v, a, b, order) for s, v, a, b in zip(streams, velocities, starts, ends, strict=True)]
        else:
            new = [s.moved(v, a, b) for s, v, a, b in zip(streams, velocities, starts, ends, strict=True)]
        if settings.sampler == "heun":
            ahead = predict(StepInputs(*(s.at(x, end) for s, x, end in zip(streams, new, ends, strict=True))))
            new = [s.moved((v + w) / 2, a, b) for s, v, w, a, b in zip(streams, velocities, ahead, starts, ends, strict=True)]
        for stream, x in zip(streams, new, strict=True):
            stream.x = x
    return replace(inputs, video=_reached(streams[0]), audio=_reached(streams[1]))


def _reached(stream: _Stream) -> StreamInputs:
    return replace(stream.inputs, tokens=torch.where(stream.moves > 0, stream.x.to(stream.inputs.tokens.dtype), stream.inputs.tokens))


def with_reflexflow(exact: StepInputs, rolled: StepInputs, moved: bool, predict: Predict) -> StepInputs:
    """``rolled`` with what ReflexFlow's terms need: state - x0, and, when any sample ``moved``, by what its velocity is another."""
    pairs, errors = ((exact.video, rolled.video), (exact.audio, rolled.audio)), (None, None)
    if moved:
        errors = tuple(_moved_by(*pair, a - b) for pair, a, b in zip(pairs, predict(exact), predict(rolled), strict=True))
    streams = []
    for (before, after), error in zip(pairs, errors, strict=True):
        x0 = before.tokens.float() - before.sigma[:, None, None] * before.target
        streams.append(replace(after, drift=after.tokens.float() - x0, error=error))
    return replace(rolled, video=streams[0], audio=streams[1])


def _moved_by(before: StreamInputs, after: StreamInputs, error: Tensor) -> Tensor:
    """``error``, 0 in samples that stayed, where it would be rounding alone."""
    return error * (before.tokens != after.tokens).flatten(1).any(1)[:, None, None]
