"""What a person asks of a sampling run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..errors import LTX2Error
from ..geometry import audio_latent_length, latent_frames, snap_frames, snap_size, video_tokens
from ..models.forward import CROSS_TIMESTEP_RULES
from ..strict import from_dict
from .guidance import Guidance
from .sigmas import SCHEDULES

SAMPLERS = ("euler", "heun")


@dataclass(frozen=True)
class SampleSettings:
    """width, height in pixels; frames 8k+1 at frame_rate a second; audio_cfg None takes the picture's scale.

    Values that the VAE cannot take are to be mended by :meth:`snapped` first.
    """

    width: int = 768
    height: int = 512
    frames: int = 121
    frame_rate: float = 25.0
    steps: int = 30
    seed: int = 0
    video_cfg: float = 5.0
    audio_cfg: float | None = None
    schedule: str = "dynamic"
    sampler: str = "euler"
    rescale: float = 0.0
    stg: float = 0.0
    stg_block: int = 28
    modality: float = 1.0
    av_cross_timestep: str = "official"
    batch: int = 1

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise LTX2Error(f"schedule is {self.schedule!r}; choose one of {', '.join(SCHEDULES)}.")
        if self.sampler not in SAMPLERS:
            raise LTX2Error(f"sampler is {self.sampler!r}; choose one of {', '.join(SAMPLERS)}.")
        if self.av_cross_timestep not in CROSS_TIMESTEP_RULES:
            raise LTX2Error(f"av_cross_timestep is {self.av_cross_timestep!r}; choose one of {', '.join(CROSS_TIMESTEP_RULES)}.")
        if self.frame_rate <= 0 or self.steps < 1 or self.batch < 1:
            raise LTX2Error("frame_rate, steps and batch must be above 0; correct them.")

    @classmethod
    def from_dict(cls, raw: Mapping[str, object]) -> SampleSettings:
        return from_dict(cls, raw, "sample")

    def to_dict(self) -> dict:
        return asdict(self)

    def snapped(self) -> tuple[SampleSettings, tuple[str, ...]]:
        """These settings at sizes that the VAE takes, and a sentence for each change.

        Raises:
            LTX2Error: a side or the frames would become 0.
        """
        width, height, size_message = snap_size(self.width, self.height)
        frames = snap_frames(self.frames)
        values = {**asdict(self), "width": width, "height": height, "frames": frames.value}
        return SampleSettings(**values), tuple(m for m in (size_message, frames.message) if m)

    @property
    def latent_size(self) -> tuple[int, int, int]:
        return latent_frames(self.frames), self.height // 32, self.width // 32

    @property
    def audio_length(self) -> int:
        return audio_latent_length(self.frames, self.frame_rate)

    @property
    def tokens(self) -> int:
        return video_tokens(self.frames, self.height, self.width)

    def guidance(self) -> tuple[Guidance, Guidance]:
        """Of picture and sound."""
        audio = self.video_cfg if self.audio_cfg is None else self.audio_cfg
        return (
            Guidance(self.video_cfg, self.stg, self.modality, self.rescale),
            Guidance(audio, self.stg, self.modality, self.rescale),
        )
