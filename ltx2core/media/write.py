"""Writing video with sound."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from ..files import atomic_path
from .audio import Waveform

_QUALITY = {"crf": "18", "preset": "veryfast"}


def exact_rate(frame_rate: float) -> Fraction:
    """25 -> 25, 23.976 -> 24000/1001."""
    ntsc = Fraction(round(frame_rate * 1001 / 1000) * 1000, 1001)
    return ntsc if abs(float(ntsc) - frame_rate) < 5e-4 else Fraction(frame_rate).limit_denominator(1000)


def write_video(
    path: str | os.PathLike, frames: Tensor, frame_rate: float, waveform: Waveform | None = None, metadata: Mapping[str, str] | None = None
) -> Path:
    """H.264 (yuv420p) with AAC sound in mp4, atomically.

    Args:
        frames: uint8 [F, H, W, 3], even sides.
        waveform: its sound, or None.
        metadata: container tags; ``comment`` and ``prompt`` survive in mp4.
    """
    path = Path(path)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update(metadata or {})
        rate = exact_rate(frame_rate)
        video = container.add_stream("libx264", rate=rate, options=_QUALITY)
        video.height, video.width, video.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        audio = None
        if waveform is not None and waveform.samples.shape[-1]:
            audio = container.add_stream("aac", rate=waveform.rate, layout="mono" if waveform.samples.shape[0] == 1 else "stereo")
        for picture in frames.cpu().numpy():
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None:
            _write_sound(container, audio, waveform)
    return path


def _write_sound(container: av.container.OutputContainer, stream: av.AudioStream, waveform: Waveform) -> None:
    samples = waveform.samples.clamp(-1, 1).float().cpu().contiguous()
    frame = av.AudioFrame.from_ndarray(samples.numpy(), format="fltp", layout="mono" if samples.shape[0] == 1 else "stereo")
    frame.sample_rate, frame.pts, frame.time_base = waveform.rate, 0, Fraction(1, waveform.rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_audio(path: str | os.PathLike, waveform: Waveform) -> Path:
    """16-bit wav, atomically."""
    path = Path(path)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="wav") as container:
        stereo = waveform.samples.shape[0] == 2
        stream = container.add_stream("pcm_s16le", rate=waveform.rate, layout="stereo" if stereo else "mono")
        samples = (waveform.samples.clamp(-1, 1) * 32767).round().to(torch.int16)
        frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1).contiguous().numpy(), format="s16", layout="stereo" if stereo else "mono")
        frame.sample_rate = waveform.rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
