"""What a person asks of a sampling run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..errors import LTX2Error
from ..geometry import audio_latent_length, latent_frames, snap_frames, snap_size, video_tokens
from ..models.forward import CROSS_TIMESTEP_RULES
from ..strict import from_dict, nearest
from .guidance import Guidance
from .sigmas import SCHEDULES

SAMPLERS = ("euler", "heun")
MOST_SEEDS = 64

# Values that go together; a person may change each afterwards.
PRESETS: Mapping[str, Mapping[str, object]] = {
    "studio": {"video_cfg": 5.0, "audio_cfg": None, "schedule": "dynamic", "steps": 30},
    "official": {"video_cfg": 3.0, "audio_cfg": 7.0, "schedule": "official", "steps": 40},
    "official_full": {"video_cfg": 3.0, "audio_cfg": 7.0, "schedule": "official", "steps": 30, "stg": 1.0, "modality": 3.0, "rescale": 0.7},
    "distilled": {"video_cfg": 1.0, "audio_cfg": 1.0, "schedule": "distilled", "steps": 8},
}


def preset(name: str) -> dict[str, object]:
    """``studio``: 5 for both; ``official``: 3 for the picture and 7 for the sound; ``official_full``: with spatio-temporal and
    modality guidance and rescaling as the official pipelines; ``distilled``: guidance 1, 8 steps on the distilled list.

    Raises:
        LTX2Error: an unknown name.
    """
    if name not in PRESETS:
        raise LTX2Error(f"The guidance preset {name!r} is not known; {nearest(name, PRESETS)}")
    return dict(PRESETS[name])


def parse_seeds(text: str) -> tuple[int, ...]:
    """"1, 2, 5-8" -> (1, 2, 5, 6, 7, 8).

    Raises:
        LTX2Error: not numbers and ranges, or more than 64 seeds.
    """
    seeds: list[int] = []
    for part in text.replace(";", ",").split(","):
        first, dash, last = part.strip().partition("-")
        if not first and not dash:
            continue
        if not (first.strip().isdigit() and (not dash or last.strip().isdigit())):
            raise LTX2Error(f"{part.strip()!r} is no seed; write numbers from 0 on and ranges, for example 1, 2, 5-8.")
        begin, end = int(first), int(last) if dash else int(first)
        if not 0 <= end - begin < MOST_SEEDS:
            raise LTX2Error(f"The range {part.strip()} is empty or longer than {MOST_SEEDS} seeds; write the smaller number first.")
        seeds += range(begin, end + 1)
    if not seeds or len(seeds) > MOST_SEEDS or max(seeds) >= 2**63:
        raise LTX2Error(f"{len(seeds)} seeds were given; give 1 to {MOST_SEEDS}, for example 1, 2, 5-8.")
    return tuple(dict.fromkeys(seeds))


@dataclass(frozen=True)
class SampleSettings:
    """width, height in pixels; frames 8k+1 at frame_rate a second; audio_cfg None takes the picture's scale.

    seeds: of the samples of a batch; without them sample i has seed + i.
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
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.seeds:
            if self.batch not in (1, len(self.seeds)):
                raise LTX2Error(f"{len(self.seeds)} seeds were given for a batch of {self.batch}; give one a sample, or set batch to 1.")
            object.__setattr__(self, "batch", len(self.seeds))
        if self.schedule not in SCHEDULES:
            raise LTX2Error(f"schedule is {self.schedule!r}; choose one of {', '.join(SCHEDULES)}.")
        if self.sampler not in SAMPLERS:
            raise LTX2Error(f"sampler is {self.sampler!r}; choose one of {', '.join(SAMPLERS)}.")
        if self.av_cross_timestep not in CROSS_TIMESTEP_RULES:
            raise LTX2Error(f"av_cross_timestep is {self.av_cross_timestep!r}; choose one of {', '.join(CROSS_TIMESTEP_RULES)}.")
        if not self.frame_rate > 0 or self.steps < 1 or self.batch < 1:
            raise LTX2Error("frame_rate, steps and batch must be above 0; correct them.")
        scales = (self.video_cfg, self.video_cfg if self.audio_cfg is None else self.audio_cfg, self.rescale, self.stg, self.modality)
        if not all(map(math.isfinite, scales)):
            raise LTX2Error("A guidance scale is not a number; correct video_cfg, audio_cfg, rescale, stg and modality.")

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
    def sample_seeds(self) -> tuple[int, ...]:
        """One a sample of the batch."""
        return self.seeds or tuple(self.seed + i for i in range(self.batch))

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
