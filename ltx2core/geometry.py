"""Frames, sizes and token counts: pure functions of the VAE's compression factors."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import LTX2Error


@dataclass(frozen=True)
class Compression:
    """Pixels per latent cell. LTX-2: 8 in time, 32 in space; 25 audio latent frames a second."""

    time: int = 8
    space: int = 32
    audio_rate: float = 25.0


LTX2_COMPRESSION = Compression()


@dataclass(frozen=True)
class Snapped:
    """A value the VAE can take, and the sentence to show when it differs from what was asked."""

    value: int
    message: str | None = None


def snap_frames(frames: int, compression: Compression = LTX2_COMPRESSION) -> Snapped:
    """The largest count of the form ``time * k + 1`` that is at most ``frames`` (61 -> 57)."""
    if frames < 1:
        raise LTX2Error(f"{frames} frames were asked for; give at least 1.")
    snapped = (frames - 1) // compression.time * compression.time + 1
    if snapped == frames:
        return Snapped(frames)
    return Snapped(snapped, f"{frames} frames become {snapped}: this model's VAE takes {compression.time}k+1 frames.")


def snap_size(width: int, height: int, multiple: int = LTX2_COMPRESSION.space) -> tuple[int, int, str | None]:
    """Width and height cut down to multiples of ``multiple`` (720x1280 -> 704x1280), and a message if that changed them.

    Raises:
        LTX2Error: when a side would become 0.
    """
    w, h = width // multiple * multiple, height // multiple * multiple
    if not w or not h:
        raise LTX2Error(f"{width}x{height} is too small: each side must be at least {multiple} pixels.")
    if (w, h) == (width, height):
        return w, h, None
    return w, h, f"{width}x{height} becomes {w}x{h}: sides must be multiples of {multiple}."


def latent_frames(frames: int, compression: Compression = LTX2_COMPRESSION) -> int:
    """Latent frames of ``frames`` = ``time * k + 1`` pixel frames."""
    return (frames - 1) // compression.time + 1


def pixel_frames(latents: int, compression: Compression = LTX2_COMPRESSION) -> int:
    return (latents - 1) * compression.time + 1


def audio_latent_length(frames: int, frame_rate: float, compression: Compression = LTX2_COMPRESSION) -> int:
    """Audio latent frames that last as long as ``frames`` video frames: round(frames / rate * 25)."""
    return round(frames / frame_rate * compression.audio_rate)


def video_tokens(frames: int, height: int, width: int, compression: Compression = LTX2_COMPRESSION) -> int:
    """Transformer tokens of a clip (patch size 1)."""
    return latent_frames(frames, compression) * (height // compression.space) * (width // compression.space)
