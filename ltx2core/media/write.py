"""Writing video with sound."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from ..errors import LTX2Error
from ..files import atomic_path
from .audio import Waveform

_BT709, _LIMITED = 1, 1  # ffmpeg's numbers for the HD matrix and for luma in 16..235


@dataclass(frozen=True)
class _Codec:
    """How a choice of a person is called by ffmpeg."""

    name: str
    pixels: str
    container: str
    suffix: str
    options: Mapping[str, str]


_CODECS = {
    "h264": _Codec("libx264", "yuv420p", "mp4", ".mp4", {"crf": "18", "preset": "veryfast"}),
    # Profile 3 is 422 HQ, what editing programs call "ProRes 422 HQ".
    "prores": _Codec("prores_ks", "yuv422p10le", "mov", ".mov", {"profile": "3", "vendor": "apl0"}),
}
CODECS = tuple(_CODECS)
# Tags of any name are kept, and the index stands in front: readers of tags look at the first megabytes only.
_FLAGS = {"movflags": "use_metadata_tags+faststart"}


def suffix(codec: str) -> str:
    """The file name's end for one of CODECS."""
    return _codec(codec).suffix


def _codec(name: str) -> _Codec:
    if name not in _CODECS:
        raise LTX2Error(f"The codec {name!r} is not known; choose {' or '.join(_CODECS)}.")
    return _CODECS[name]


def exact_rate(frame_rate: float) -> Fraction:
    """25 -> 25, 23.976 -> 24000/1001."""
    ntsc = Fraction(round(frame_rate * 1001 / 1000) * 1000, 1001)
    return ntsc if abs(float(ntsc) - frame_rate) < 5e-4 else Fraction(frame_rate).limit_denominator(1000)


def write_video(
    path: str | os.PathLike,
    frames: Tensor | Iterable[np.ndarray],
    frame_rate: float,
    waveform: Waveform | None = None,
    metadata: Mapping[str, str] | None = None,
    codec: str = "h264",
) -> Path:
    """H.264 (yuv420p, mp4) or ProRes 422 HQ (mov) with AAC sound at the waveform's own rate, atomically.

    Args:
        frames: uint8 [F, H, W, 3], even sides; or pictures [H, W, 3] one after another, so that a long film need not lie in memory.
        waveform: its sound, or None.
        metadata: container tags; any name survives.

    Raises:
        LTX2Error: no frames, an odd side, or a name whose end does not fit the codec.
    """
    path, kind = Path(path), _codec(codec)
    if path.suffix.lower() != kind.suffix:
        raise LTX2Error(f"{path.name} cannot hold {codec}; let the name end in {kind.suffix}.")
    pictures = _pictures(frames)
    first = next(pictures, None)
    if first is None:
        raise LTX2Error(f"{path.name} would have no frames; give at least one.")
    if first.shape[0] % 2 or first.shape[1] % 2:
        raise LTX2Error(f"Frames of {first.shape[1]}x{first.shape[0]} cannot be written: both sides must be even; crop one line.")
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format=kind.container, options=_FLAGS) as container:
        container.metadata.update(metadata or {})
        video = _add_picture(container, kind, exact_rate(frame_rate), first)
        audio = None
        if waveform is not None and waveform.samples.shape[-1]:
            audio = container.add_stream("aac", rate=waveform.rate, layout="mono" if waveform.samples.shape[0] == 1 else "stereo")
        for picture in chain((first,), pictures):
            container.mux(video.encode(_coloured(picture, kind.pixels)))
        container.mux(video.encode(None))
        if audio is not None:
            _write_sound(container, audio, waveform)
    return path


def _pictures(frames: Tensor | Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    return iter(frames.cpu().numpy()) if isinstance(frames, Tensor) else iter(frames)


def _add_picture(container: av.container.OutputContainer, kind: _Codec, rate: Fraction, first: np.ndarray) -> av.VideoStream:
    video = container.add_stream(kind.name, rate=rate, options=dict(kind.options))
    video.height, video.width, video.pix_fmt = first.shape[0], first.shape[1], kind.pixels
    # Named, because players guess the colours of files that don't.
    video.codec_context.colorspace = video.codec_context.color_primaries = video.codec_context.color_trc = _BT709
    video.codec_context.color_range = _LIMITED
    return video


def _coloured(picture: np.ndarray, pixels: str) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame = frame.reformat(format=pixels, dst_colorspace=_BT709)
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
