"""Between our clips and the host's IMAGE, AUDIO and VIDEO."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from comfy_api.latest import InputImpl, Types
from torch import Tensor

from ...ltx2core.media.audio import Waveform
from ...ltx2core.media.write import exact_rate
from ...ltx2core.sample.decode import Clip


def to_images(clips: Sequence[Clip]) -> Tensor:
    """float32 [frames of all clips, H, W, 3] in 0..1."""
    return torch.cat([clip.frames for clip in clips]).float() / 255


def to_audio(clip: Clip) -> dict:
    """Silence of the clip's length when it has no sound."""
    if clip.waveform is None:
        return {"waveform": torch.zeros(1, 2, round(len(clip.frames) / clip.frame_rate * 24000)), "sample_rate": 24000}
    return to_host_audio(clip.waveform)


def to_host_audio(sound: Waveform) -> dict:
    return {"waveform": sound.samples[None], "sample_rate": sound.rate}


def to_video(clip: Clip):
    rate: Fraction = exact_rate(clip.frame_rate)
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=to_images([clip]), audio=to_audio(clip), frame_rate=rate))


def pictures(frames: Tensor) -> Tensor:
    """uint8 [F, H, W, 3] -> IMAGE."""
    return frames.float() / 255


def from_images(images: Tensor) -> Tensor:
    """IMAGE -> uint8 [F, H, W, 3]."""
    return (images[..., :3].clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def from_audio(audio: dict) -> Waveform:
    """AUDIO -> the first waveform of its batch."""
    return Waveform(audio["waveform"][0].float().cpu().clone(), int(audio["sample_rate"]))
