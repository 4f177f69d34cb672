"""Two stages: the clip at half size, its latents enlarged, and a short second denoise of what that blurs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import LTX2Error
from ..geometry import LTX2_COMPRESSION, pixel_frames, snap_frames, snap_size
from ..models.handle import Models
from ..models.latents import pack_audio, pack_video, unpack_audio, unpack_video
from ..models.upsampler import Upsampler
from ..protocols import Reporter, Residency, StopSignal
from ..text.features import TextFeatures
from .conditions import State, audio_state, video_state
from .given import Picture
from .guides import encode_guides, guided
from .loop import Latents
from .noise import make_noise
from .run import run_states
from .settings import SampleSettings
from .sigmas import SECOND_STAGE
from .upscale import upscale_latents

MULTIPLE = 2 * LTX2_COMPRESSION.space  # of the sides of the result


@dataclass(frozen=True)
class RefineSettings:
    """sigmas: begin below 1, so that what was enlarged is kept in the large; keep_sound: the first stage's sound stays.

    The official pipeline for text and pictures keeps it, those for distilled models take the second stage's.
    """

    seed: int = 0
    sigmas: tuple[float, ...] = SECOND_STAGE
    keep_sound: bool = True
    sampler: str = "euler"
    av_cross_timestep: str = "official"

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip(self.sigmas, self.sigmas[1:], strict=False))
        if len(self.sigmas) < 2 or not all(map(math.isfinite, self.sigmas)) or not falling or not 0 < self.sigmas[0] <= 1 or self.sigmas[-1] != 0:
            raise LTX2Error(f"The sigmas of the second stage are {', '.join(f'{s:g}' for s in self.sigmas)}; give falling numbers from at most 1 down to 0.")


def parse_sigmas(text: str) -> tuple[float, ...]:
    """"0.9, 0.7, 0.4, 0" -> numbers; empty text gives the list of the distilled adapter.

    Raises:
        LTX2Error: not numbers.
    """
    if not text.strip():
        return SECOND_STAGE
    try:
        return tuple(float(part) for part in text.replace(";", ",").split(",") if part.strip())
    except ValueError as error:
        raise LTX2Error(f"{text!r} is no list of sigmas; write numbers with commas, for example {', '.join(map(str, SECOND_STAGE))}.") from error


def half_size(settings: SampleSettings) -> tuple[SampleSettings, SampleSettings, tuple[str, ...]]:
    """(of the first stage, of the result, a sentence for each change): sides of the result are multiples of 64.

    Raises:
        LTX2Error: a side or the frames would become 0.
    """
    width, height, size = snap_size(settings.width, settings.height, MULTIPLE)
    frames = snap_frames(settings.frames)
    whole = replace(settings, width=width, height=height, frames=frames.value)
    return replace(whole, width=width // 2, height=height // 2), whole, tuple(m for m in (size, frames.message) if m)


def restart(state: State, start: Tensor, noise: Tensor, sigma: float) -> State:
    """``state`` begun again at ``sigma`` from latents that are there already, in place of from pure noise.

    x = (1 - sigma) start + sigma noise, then as far towards what is given as the mask says.

    Args:
        start, noise: video [B, 128, F', H', W'] or audio [B, 8, T, 16].
    """
    pack = pack_video if start.ndim == 5 else pack_audio
    moved = torch.lerp(pack(start.to(state.tokens)), pack(noise.to(state.tokens)), sigma)
    return replace(state, tokens=torch.lerp(state.clean, moved, state.mask))


def _settings(latents: Latents, settings: RefineSettings) -> SampleSettings:
    """Of the second stage's run: the latents' own size, no guidance."""
    frames, height, width = latents.video.shape[2:]
    space = LTX2_COMPRESSION.space
    return SampleSettings(
        width * space, height * space, pixel_frames(frames), latents.frame_rate, seed=settings.seed, batch=len(latents.video),
        video_cfg=1.0, audio_cfg=1.0, schedule="distilled", sampler=settings.sampler, av_cross_timestep=settings.av_cross_timestep,
    )  # fmt: skip


def _sound_state(latents: Latents, noise: Tensor, sigma: float) -> State:
    """The sound of the first stage: held where it was given, else noised as far as the picture."""
    if latents.audio.shape[2] != noise.shape[2]:
        raise LTX2Error(f"The latents have {latents.audio.shape[2]} latent frames of sound and their video needs {noise.shape[2]}; check the frame rate.")
    audio = latents.audio.to(noise)
    return audio_state(noise, audio) if latents.sound is not None else restart(audio_state(noise), audio, noise, sigma)


def refine(
    models: Models, latents: Latents, positive: TextFeatures, settings: RefineSettings = RefineSettings(), pictures: Sequence[Picture] = (),  # noqa: B008
    *, residency: Residency, reporter: Reporter, stop: StopSignal,
) -> Latents:  # fmt: skip
    """The second stage: ``latents`` (enlarged already) noised to the first sigma and denoised again without guidance.

    Args:
        models: with the distilled adapter, which the short list of sigmas is made for.
        pictures: those of the first stage, which are encoded again at the full size.

    Raises:
        LTX2Error: a picture outside the clip, sound of another length, an adapter that does not fit.
        Interrupted: a person asked to stop.
    """
    run = _settings(latents, settings)
    noise, audio_noise = (n.to(residency.device) for n in make_noise(run))
    keyframes, guides = encode_guides(models, pictures, run, residency)
    video = restart(video_state(run, noise, keyframes), latents.video.to(residency.device), noise, settings.sigmas[0])
    video = guided(video, guides, run, settings.sigmas[0])
    audio = _sound_state(latents, audio_noise, settings.sigmas[0])
    services = {"residency": residency, "reporter": reporter, "stop": stop}
    video, audio = run_states(models, run, positive, None, video, audio, sigmas=torch.tensor(settings.sigmas), **services)
    sound = latents.audio if settings.keep_sound else unpack_audio(audio.tokens).cpu()
    return replace(latents, video=unpack_video(video.tokens[:, : run.tokens], *run.latent_size).cpu(), audio=sound)


def two_stages(
    first: Callable[[SampleSettings], Latents], models: Models, upsampler: Upsampler, settings: SampleSettings, positive: TextFeatures,
    refining: RefineSettings = RefineSettings(), pictures: Sequence[Picture] = (), **services,  # noqa: B008
) -> Latents:  # fmt: skip
    """Both stages in one call.

    Args:
        first: makes the clip at the settings it is given, which are half the size: any way of sampling.
        models: of the second stage, see :func:`refine`.
        services: residency, reporter, stop.
    """
    small, _, messages = half_size(settings)
    for text in messages:
        services["reporter"].message(text, "warning")
    large = upscale_latents(first(small), models, upsampler, services["residency"])
    return refine(models, large, positive, refining, pictures, **services)
