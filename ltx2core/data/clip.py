"""One sample of a dataset, before it is encoded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

CENTRE = (0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Pixels and frames that the VAE takes; all clips of one bucket have equal tensors."""

    width: int
    height: int
    frames: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}@{self.frames}"


@lru_cache(maxsize=4096)
def bucket(width: int, height: int, frames: int) -> Bucket:
    """The same object for equal buckets: ten thousand clips share a few."""
    return Bucket(width, height, frames)


@dataclass(frozen=True, slots=True)
class Clip:
    """A piece of a file that becomes one sample. Times in seconds, on the clock of the file's picture.

    Attributes:
        frame_rate: the rate that it is trained at.
        duration: of the whole file.
        centre: the part of the picture that is kept, (0.5, 0.5) is the middle.
        sound: another file that gives the sound; empty is the clip's own.
        has_video: False where sound is trained alone; ``bucket`` then has one latent cell a frame.
        silence: the sound is made of zeros, because the file has none and ``allow_zero_audio`` is set.
        mask: the picture or film whose brightness weighs the loss of each place; empty for none.
    """

    path: str
    caption: str
    bucket: Bucket
    start: float
    frame_rate: float
    has_audio: bool
    duration: float
    centre: tuple[float, float] = CENTRE
    sound: str = ""
    has_video: bool = True
    silence: bool = False
    mask: str = ""

    @property
    def seconds(self) -> float:
        return self.bucket.frames / self.frame_rate
