"""Sound at a wanted rate, in step with the picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from ..errors import LTX2Error
from .probe import opened

_LAYOUTS = {1: "mono", 2: "stereo"}


@dataclass(frozen=True)
class Waveform:
    """samples float32 [C, S] in -1..1, at ``rate`` samples a second."""

    samples: Tensor
    rate: int

    @property
    def seconds(self) -> float:
        return self.samples.shape[-1] / self.rate


def _layout(channels: int) -> str:
    if channels not in _LAYOUTS:
        raise LTX2Error(f"{channels} channels were asked for; choose 1 or 2.")
    return _LAYOUTS[channels]


def _joined(parts: list[np.ndarray], channels: int) -> np.ndarray:
    return np.concatenate(parts, axis=1) if parts else np.zeros((channels, 0), np.float32)


def decode_audio(
    path: str | os.PathLike, *, rate: int, channels: int = 2, start: float = 0.0, duration: float | None = None
) -> Waveform | None:
    """The first sound stream from ``start`` seconds on the clock of the picture; None when the file has no sound.

    Mono is doubled and 5.1 mixed down by ffmpeg's resampler. Where the sound begins later than the picture, zeros
    stand in front.

    Raises:
        LTX2Error: unreadable.
    """
    path = Path(path)
    parts: list[np.ndarray] = []
    with opened(path) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        clock = container.streams.video[0] if container.streams.video else stream
        origin = float((clock.start_time or 0) * clock.time_base)
        resampler = av.AudioResampler(format="fltp", layout=_layout(channels), rate=rate)
        end = None if duration is None else start + duration
        begins: float | None = None
        for frame in container.decode(stream):
            if begins is None:
                begins = float(frame.pts * stream.time_base) - origin if frame.pts is not None else 0.0
            parts += [out.to_ndarray() for out in resampler.resample(frame)]
            if end is not None and begins + sum(p.shape[1] for p in parts) / rate > end + 0.1:
                break
        parts += [out.to_ndarray() for out in resampler.resample(None)]
    samples = torch.from_numpy(_joined(parts, channels).astype(np.float32))
    samples = _shift(samples, round(((begins or 0.0) - start) * rate))
    if duration is not None:
        samples = samples[:, : round(duration * rate)]
    return Waveform(samples, rate)


def _shift(samples: Tensor, by: int) -> Tensor:
    """Later by ``by`` samples (zeros in front), or earlier when negative."""
    return torch.nn.functional.pad(samples, (by, 0)) if by >= 0 else samples[:, -by:]


def resample(waveform: Waveform, rate: int, channels: int = 2) -> Waveform:
    """At another rate and number of channels, through ffmpeg's resampler."""
    have = waveform.samples.shape[0]
    if waveform.rate == rate and have == channels:
        return waveform
    if have > 2:
        waveform, have = Waveform(waveform.samples.mean(0, keepdim=True), waveform.rate), 1
    frame = av.AudioFrame.from_ndarray(waveform.samples.float().cpu().contiguous().numpy(), format="fltp", layout=_layout(have))
    frame.sample_rate = waveform.rate
    resampler = av.AudioResampler(format="fltp", layout=_layout(channels), rate=rate)
    parts = [out.to_ndarray() for out in [*resampler.resample(frame), *resampler.resample(None)]]
    return Waveform(torch.from_numpy(_joined(parts, channels).astype(np.float32)), rate)


def fit_length(waveform: Waveform, seconds: float) -> Waveform:
    """Cut, or padded with zeros at the end, to ``seconds``."""
    length = round(seconds * waveform.rate)
    samples = waveform.samples[:, :length]
    return Waveform(torch.nn.functional.pad(samples, (0, length - samples.shape[1])), waveform.rate)
