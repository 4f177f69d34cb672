"""Sound at a wanted rate, in step with the picture."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from ..errors import LTX2Error
from .probe import opened, origin, sound_stream
from .seek import frames_from

_SEEK_FROM = 5.0  # seconds; below this, decoding from the beginning is as fast as a seek
_RUN_UP = 0.25  # seconds decoded around what is wanted: codecs need some frames to settle
_LONGEST_GAP = 3600.0  # seconds of silence put before a sound that claims to begin later than the picture

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


def _timed_sound(container: av.container.InputContainer, stream: av.AudioStream, start: float) -> Iterator[tuple[float, av.AudioFrame]]:
    """(seconds on the picture's clock, frame), from before ``start`` on; frames without a time follow one another."""
    zero = origin(container)

    def decoded() -> Iterator[tuple[float, av.AudioFrame]]:
        time = 0.0
        for frame in container.decode(stream):
            time = float(frame.pts * stream.time_base) - zero if frame.pts is not None else time
            yield time, frame
            time += frame.samples / frame.sample_rate

    return frames_from(container, stream, decoded, start, _RUN_UP) if start > _SEEK_FROM else decoded()


def decode_audio(
    path: str | os.PathLike, *, rate: int, channels: int = 2, start: float = 0.0, duration: float | None = None
) -> Waveform | None:
    """The first sound stream from ``start`` seconds on the clock of the picture; None when the file has no sound.

    Mono is doubled and 5.1 mixed down by ffmpeg's resampler. Where the sound begins later than the picture, zeros
    stand in front. It may be shorter than ``duration``: :func:`fit_length` pads.

    Raises:
        LTX2Error: unreadable.
    """
    path = Path(path)
    parts: list[np.ndarray] = []
    begins: float | None = None
    end = math.inf if duration is None else start + duration
    with opened(path) as container:
        stream = sound_stream(container)
        if stream is None:
            return None
        resampler = av.AudioResampler(format="fltp", layout=_layout(channels), rate=rate)
        for time, frame in _timed_sound(container, stream, start):
            if time > end + _RUN_UP:
                break
            begins = time if begins is None else begins
            parts += [out.to_ndarray() for out in resampler.resample(frame)]
        if begins is not None:
            parts += [out.to_ndarray() for out in resampler.resample(None)]
    samples = torch.from_numpy(_joined(parts, channels).astype(np.float32))
    gap = min((begins or 0.0) - start, duration if duration is not None else _LONGEST_GAP)
    samples = _shift(samples, round(gap * rate))
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
