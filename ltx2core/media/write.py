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

from ..errors import LTX2Error
from ..files import atomic_path
from .audio import Waveform

_BT709, _LIMITED = 1, 1  # ffmpeg's numbers for the HD matrix and for luma in 16..235
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
        # Named, because players guess the colours of files that don't.
        video.codec_context.colorspace = video.codec_context.color_primaries = video.codec_context.color_trc = _BT709
        video.codec_context.color_range = _LIMITED
        audio = None
        if waveform is not None and waveform.samples.shape[-1]:
            audio = container.add_stream("aac", rate=waveform.rate, layout="mono" if waveform.samples.shape[0] == 1 else "stereo")
        for picture in frames.cpu().numpy():
            container.mux(video.encode(_coloured(picture)))
        container.mux(video.encode(None))
        if audio is not None:
            _write_sound(container, audio, waveform)
    return path


def _coloured(picture: np.ndarray) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709)
    frame.colorspace, frame.color_range = _BT709, _LIMITED
    return frame


def _write_sound(container: av.container.OutputContainer, stream: av.AudioStream, waveform: Waveform) -> None:
    samples = waveform.samples.clamp(-1, 1).float().cpu().contiguous()
    frame = av.AudioFrame.from_ndarray(samples.numpy(), format="fltp", layout="mono" if samples.shape[0] == 1 else "stereo")
    frame.sample_rate, frame.pts, frame.time_base = waveform.rate, 0, Fraction(1, waveform.rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


_FORMATS = {".wav": ("wav", "pcm_s16le"), ".flac": ("flac", "flac")}


def write_audio(path: str | os.PathLike, waveform: Waveform) -> Path:
    """16-bit wav or flac, by the name's end, atomically.

    Raises:
        LTX2Error: another ending.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise LTX2Error(f"{path.name} cannot be written: sound is saved as .wav or .flac; name it so.")
    container_format, codec = _FORMATS[path.suffix.lower()]
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format=container_format) as container:
        layout = "stereo" if waveform.samples.shape[0] == 2 else "mono"
        stream = container.add_stream(codec, rate=waveform.rate, layout=layout, format="s16")
        samples = (waveform.samples.clamp(-1, 1) * 32767).round().to(torch.int16)
        frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1).contiguous().cpu().numpy(), format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = waveform.rate, 0, Fraction(1, waveform.rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
