"""What is in a media file, read from its headers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av

from ..errors import LTX2Error

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".gif")
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac")


@dataclass(frozen=True)
class MediaInfo:
    """Sizes in pixels after rotation, times in seconds; ``frame_rate`` is the average rate, 0 without a picture."""

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


@contextmanager
def opened(path: str | os.PathLike) -> Iterator[av.container.InputContainer]:
    """The file as PyAV's container.

    Raises:
        LTX2Error: it cannot be opened or breaks while it is read.
    """
    path = Path(path)
    if not path.is_file():
        raise LTX2Error(f"There is no file {path}; check the path.")
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise LTX2Error(f"{path.name} cannot be read ({error}); re-encode it, or take it out of the folder.") from error


def rotation(stream: av.VideoStream, frame: av.VideoFrame | None = None) -> int:
    """Degrees in 0, 90, 180, 270 by which the picture is turned counter-clockwise to be shown (ffmpeg's sign)."""
    degrees = getattr(frame, "rotation", 0) if frame is not None else 0
    if not degrees and stream.metadata.get("rotate"):
        degrees = -int(stream.metadata["rotate"])
    return round(degrees / 90) % 4 * 90


def _seconds(container: av.container.InputContainer, stream: av.stream.Stream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else 0.0


def _first_rotation(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    """Rotation lies in the first frame's side data; only turned phones have it, one frame is cheap."""
    for frame in container.decode(stream):
        return rotation(stream, frame)
    raise LTX2Error(f"{Path(container.name).name} has no picture that can be decoded; re-encode it, or take it out of the folder.")


def probe(path: str | os.PathLike) -> MediaInfo:
    """Sizes, rate, length and sound of a video, image or sound file.

    Raises:
        LTX2Error: unreadable, or neither picture nor sound in it.
    """
    path = Path(path)
    with opened(path) as container:
        video = container.streams.video[0] if container.streams.video else None
        audio = container.streams.audio[0] if container.streams.audio else None
        if video is None and audio is None:
            raise LTX2Error(f"{path.name} has neither picture nor sound; take it out of the folder.")
        width = height = frames = 0
        rate, duration = 0.0, _seconds(container, video or audio)
        if video is not None:
            image = path.suffix.lower() in IMAGE_SUFFIXES
            rate = float(video.average_rate or video.guessed_rate or 0)
            width, height = video.width, video.height
            if _first_rotation(container, video) in (90, 270):
                width, height = height, width
            frames = 1 if image else video.frames or round(duration * rate)
            duration = 0.0 if image else duration
        return MediaInfo(
            path, width, height, frames, rate, duration, video is not None, audio is not None,
            audio.rate if audio is not None else 0, audio.channels if audio is not None else 0,
        )  # fmt: skip
