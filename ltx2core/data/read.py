"""A sample's pictures and sound, as they are encoded, and what a cache key must know of it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import LTX2Error
from ..media.audio import Waveform, decode_audio, fit_length
from ..media.video import decode_video
from .clip import CENTRE, Clip


def read_pictures(clip: Clip) -> Tensor | None:
    """uint8 [F, H, W, 3] of the clip's bucket; None where sound is trained alone.

    Raises:
        LTX2Error: unreadable, or shorter than it was when the folder was scanned.
    """
    if not clip.has_video:
        return None
    size = clip.bucket.width, clip.bucket.height
    return decode_video(clip.path, frame_rate=clip.frame_rate, num_frames=clip.bucket.frames, start=clip.start, size=size, centre=clip.centre)


def read_some(clip: Clip, count: int) -> Tensor:
    """uint8 [n, H, W, 3]: ``count`` pictures of the clip spread evenly over it, of a shorter one all.

    Raises:
        LTX2Error: no picture, or unreadable.
    """
    pictures = read_pictures(clip)
    if pictures is None:
        raise LTX2Error(f"{Path(clip.path).name} is sound alone and has no pictures; choose a dataset of films.")
    chosen = torch.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().long()
    return pictures[chosen]


def read_sound(clip: Clip, rate: int) -> Waveform | None:
    """Stereo, exactly as long as the pictures and in step with them; None for a clip without sound.

    Raises:
        LTX2Error: unreadable, or the sound has gone since the folder was scanned.
    """
    if not clip.has_audio:
        return None
    if clip.silence:
        return Waveform(torch.zeros(2, round(clip.seconds * rate)), rate)
    path = Path(clip.sound or clip.path)
    waveform = decode_audio(path, rate=rate, channels=2, start=clip.start, duration=clip.seconds)
    if waveform is None:
        raise LTX2Error(f"{path.name} lost its sound while it was read; check the file.")
    return fit_length(waveform, clip.seconds)


def source_files(clip: Clip) -> tuple[Path, ...]:
    """The files whose content decides the sample."""
    return (Path(clip.path), Path(clip.sound)) if clip.sound else (Path(clip.path),)


def reading_facts(clip: Clip) -> dict[str, object]:
    """What a cache key must hold beside the file, the bucket, the start and the rate; nothing for a plain clip."""
    facts: dict[str, object] = {}
    if clip.centre != CENTRE:
        facts["centre"] = list(clip.centre)
    if clip.silence:
        facts["silence"] = True
    if not clip.has_video:
        facts["picture"] = False
    return facts
