"""A clip and its extension as one."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LTX2Error
from ..media.audio import Waveform, fit_length, resample


def join_frames(before: Tensor, after: Tensor, kept: int) -> Tensor:
    """[F, H, W, 3] of ``before`` whole, then of ``after`` what follows its first ``kept`` frames, which are the same moments.

    Raises:
        LTX2Error: another size, or nothing new in ``after``.
    """
    if before.shape[1:] != after.shape[1:]:
        sizes = [f"{t.shape[2]}x{t.shape[1]}" for t in (before, after)]
        raise LTX2Error(f"The clip is {sizes[0]} and its extension {sizes[1]}; make the extension at the clip's size.")
    if not 0 <= kept < len(after):
        raise LTX2Error(f"{kept} frames are said to be kept and the extension has {len(after)}; give the number that sampling said.")
    return torch.cat([before, after[kept:]])


def join_sound(before: Waveform, after: Waveform, kept_seconds: float, before_seconds: float) -> Waveform:
    """``before`` made ``before_seconds`` long, then of ``after`` what follows ``kept_seconds``, at the higher of both rates."""
    rate, channels = max(before.rate, after.rate), max(before.samples.shape[0], after.samples.shape[0])
    first = fit_length(resample(before, rate, channels), before_seconds).samples
    rest = resample(after, rate, channels).samples[:, round(kept_seconds * rate) :]
    return Waveform(torch.cat([first, rest], dim=1), rate)
