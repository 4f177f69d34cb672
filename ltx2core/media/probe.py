"""What is in a media file, read from its headers, or where they do not say it, from its first picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av

from ..errors import LTX2Error
from .hdr import CURVES
from .image import image_size
from .mp4 import turned

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".gif")
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac")

_GUESSING = ("mpeg", "aac", "mp3")  # containers whose length ffmpeg guesses from few time stamps or the first bit rate
_LEAST_BYTES = 16  # a second of even a black, silent film
_LONGEST = 48 * 3600.0  # seconds of one file
_TIMEOUT = 60.0  # seconds for opening, and for one read: a dead network drive ends in an error, not in waiting


@dataclass(frozen=True)
class MediaInfo:
    """Sizes in pixels after rotation, times in seconds; ``frame_rate`` is the average rate, 0 without a picture.

    frames is an estimate for files that do not count them. audio_from, audio_to: when the sound begins and ends on the
    picture's clock. hdr: brightness beyond a plain screen's (PQ or HLG), which is tone mapped when it is read.
    """

    path: Path
    width: int
    height: int
    frames: int
    frame_rate: float
    duration: float
    has_video: bool
    has_audio: bool
    audio_rate: int
    audio_channels: int
    audio_from: float = 0.0
    audio_to: float = 0.0
    hdr: bool = False


@contextmanager
def opened(path: str | os.PathLike) -> Iterator[av.container.InputContainer]:
    """The file as PyAV's container. Tags in another encoding than UTF-8 do not make a file unreadable.

    Raises:
        LTX2Error: it cannot be opened or breaks while it is read.
    """
    path = Path(path)
    if not path.is_file():
        raise LTX2Error(f"There is no file {path}; check the path.")
    try:
        # An absolute name can't be taken for a protocol such as "concat:".
        with av.open(str(path.absolute()), metadata_errors="replace", timeout=_TIMEOUT) as container:
            yield container
    except (av.FFmpegError, OSError, ValueError, IndexError, OverflowError) as error:
        raise LTX2Error(f"{path.name} cannot be read ({_short(error)}); re-encode it, or take it out of the folder.") from error


def _short(error: Exception) -> str:
    """The library's own words, without the path that it repeats."""
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def picture_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first video stream of a known codec that is no cover picture of a sound file."""
    cover = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if s.codec_context is not None and not s.disposition & cover), None)


def sound_stream(container: av.container.InputContainer) -> av.AudioStream | None:
    """The first sound stream of a known codec."""
    return next((s for s in container.streams.audio if s.codec_context is not None), None)


def origin(container: av.container.InputContainer) -> float:
    """Seconds on the file's own clock at which playing begins: the picture's first time, or the sound's without one."""
    stream = picture_stream(container) or sound_stream(container)
    return float(stream.start_time * stream.time_base) if stream is not None and stream.start_time is not None else 0.0


def rotation(stream: av.VideoStream, frame: av.VideoFrame | None = None) -> int:
    """Degrees in 0, 90, 180, 270 by which the picture is turned counter-clockwise to be shown (ffmpeg's sign)."""
    degrees = frame.rotation if frame is not None else 0
    tag = stream.metadata.get("rotate", "")
    if not degrees and tag.lstrip("-").isdigit():
        degrees = -int(tag)
    return round(degrees / 90) % 4 * 90


def _seconds(path: Path, container: av.container.InputContainer, stream: av.stream.Stream) -> float:
    said = 0.0
    if stream.duration is not None and stream.time_base is not None:
        said = float(stream.duration * stream.time_base)
    elif container.duration:
        said = container.duration / av.time_base
    # A broken header may say any length; a film of so few bytes is quickly counted through.
    if container.format.name in _GUESSING or not 0 < said <= container.size / _LEAST_BYTES:
        said = _measured(path, stream.index)
    if said > _LONGEST:
        raise LTX2Error(f"{path.name} says that it lasts {said / 3600:.0f} hours, so its header is broken or it is too long; re-encode it, or cut it into parts.")
    return said


def _measured(path: Path, index: int) -> float:
    """The length by the packets, for files whose header has none (raw streams, MPEG programs, broken indices)."""
    with opened(path) as container:
        stream, ends, count = container.streams[index], [], 0
        zero, step = origin(container), 1 / float(getattr(stream, "average_rate", None) or 25)
        for packet in container.demux(stream):
            count += packet.size > 0
            if packet.pts is not None:
                ends.append(float((packet.pts + (packet.duration or 0)) * packet.time_base) - zero)
        return max(ends) if len(ends) > count // 2 else count * step


def _first_frame(container: av.container.InputContainer, stream: av.VideoStream) -> av.VideoFrame:
    """Rotation lies in the first frame's side data, and a file whose first picture is broken is no use."""
    for frame in container.decode(stream):
        return frame
    raise LTX2Error(f"{Path(container.name).name} has no picture that can be decoded; re-encode it, or take it out of the folder.")


def _probe_container(path: Path, container: av.container.InputContainer) -> MediaInfo:
    video, audio = picture_stream(container), sound_stream(container)
    if video is None and audio is None:
        raise LTX2Error(f"{path.name} has neither picture nor sound of a known codec; re-encode it, or take it out of the folder.")
    width = height = frames = 0
    rate = 0.0
    if video is not None:
        rate = float(video.average_rate or video.guessed_rate or 0)
        width, height = video.width, video.height
        turn = turned(path) if "mp4" in container.format.name else None
        if turn is None:
            frame = _first_frame(container, video)
            width, height, turn = frame.width, frame.height, rotation(video, frame)
        if turn in (90, 270):
            width, height = height, width
    duration = max(0.0, _seconds(path, container, video or audio))
    if video is not None:
        frames = video.frames or round(duration * rate)
    return MediaInfo(
        path, width, height, frames, rate, duration, video is not None, audio is not None,
        audio.rate if audio is not None else 0, audio.channels if audio is not None else 0, *_span(path, container, audio, duration),
        video is not None and video.codec_context.color_trc in CURVES,
    )  # fmt: skip


def _span(path: Path, container: av.container.InputContainer, audio: av.AudioStream | None, duration: float) -> tuple[float, float]:
    """When the sound begins and ends; a stream that doesn't say its length lasts as long as the file."""
    if audio is None:
        return 0.0, 0.0
    begin = float(audio.start_time * audio.time_base) - origin(container) if audio.start_time is not None else 0.0
    if container.format.name in _GUESSING:
        return begin, duration if picture_stream(container) is None else _measured(path, audio.index)
    return begin, begin + float(audio.duration * audio.time_base) if audio.duration is not None else duration


def probe(path: str | os.PathLike) -> MediaInfo:
    """Sizes, rate, length and sound of a video, image or sound file. An image is one frame of no duration.

    Raises:
        LTX2Error: unreadable, or neither picture nor sound in it.
    """
    path = Path(path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        width, height = image_size(path)
        return MediaInfo(path, width, height, 1, 0.0, 0.0, True, False, 0, 0)
    with opened(path) as container:
        return _probe_container(path, container)
