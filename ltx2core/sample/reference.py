"""IC-LoRA: a reference video beside the clip. Its tokens stand in front, clean, at timestep 0, at the clip's coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint.adapter import Adapter
from ..checkpoint.adapter_info import reference_factors
from ..errors import LTX2Error
from ..geometry import LTX2_COMPRESSION as COMPRESSION
from ..geometry import latent_frames, pixel_frames, snap_frames, snap_size
from ..media.probe import probe
from ..media.video import decode_video
from ..models.handle import Models
from ..models.latents import pack_video
from ..protocols import Reporter, Residency, StopSignal
from ..text.features import TextFeatures
from ..train.reference import ReferenceScale, reference_coords
from .conditions import State
from .given import Given, encode_pictures, fitted
from .loop import Latents, to_latents
from .modes import given_states
from .noise import make_noise, noise_beside
from .recipe import tensor_digest
from .run import run_states
from .settings import SampleSettings

# Its noise has a seed of its own, so that the clip's noise is the same with and without a reference.
_NOISE = 0x1C


@dataclass(frozen=True)
class Reference:
    """frames uint8 [F, H, W, 3] of any size, as many as the clip's or more, at its frame rate.

    strength 1 keeps it clean; less lets the model change it.
    """

    frames: Tensor
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise LTX2Error(f"The strength of the reference is {self.strength}; choose a number from 0 to 1.")

    @property
    def key(self) -> str:
        """Names the content."""
        return tensor_digest(self.frames)

    def check(self, settings: SampleSettings, scale: ReferenceScale) -> None:
        """Raises LTX2Error when it does not suit a clip of ``settings``."""
        reference_frames(self.frames, settings, scale)

    def encoded(self, models: Models, settings: SampleSettings, scale: ReferenceScale, residency: Residency, reporter: Reporter) -> Tensor:
        return encode_reference(models, self, settings, scale, residency, reporter)


def read_reference(path: str | Path, settings: SampleSettings) -> Reference:
    """Of a video file, at most as many frames as a clip of ``settings`` has, at its frame rate.

    Raises:
        LTX2Error: no video that can be read.
    """
    have = max(1, round(probe(path).duration * settings.frame_rate))
    return Reference(decode_video(path, frame_rate=settings.frame_rate, num_frames=min(have, settings.frames)))


@dataclass(frozen=True)
class CachedReference:
    """A reference that was encoded with a dataset, at the size that the adapter was trained with.

    key names its content; cells: latent frames, height and width; read gives its latents [128, f, h, w].
    """

    key: str
    cells: tuple[int, int, int]
    read: Callable[[], Tensor]
    strength: float = 1.0

    def check(self, settings: SampleSettings, scale: ReferenceScale) -> None:
        """Raises LTX2Error when it does not suit a clip of ``settings``."""
        wanted = reference_cells(settings, scale)
        if self.cells != wanted:
            size, need = (f"{pixel_frames(f)} frames of {w * 32}x{h * 32}" for f, h, w in (self.cells, wanted))
            raise LTX2Error(f"A cached reference has {size} and the adapter wants {need} for its clip; cache the references at that size.")

    def encoded(self, models: Models, settings: SampleSettings, scale: ReferenceScale, residency: Residency, reporter: Reporter) -> Tensor:
        self.check(settings, scale)
        return self.read()[None].float()


def reference_scale(adapters: Sequence[tuple[Adapter, float]]) -> ReferenceScale:
    """What the adapters' metadata say; 1 and 1 where they say nothing.

    Raises:
        LTX2Error: two adapters say different factors.
    """
    found = {reference_factors(a.metadata): a.name for a, strength in adapters if strength != 0 and reference_factors(a.metadata)}
    if len(found) > 1:
        raise LTX2Error(f"The adapters {' and '.join(found.values())} take reference videos of different scales; apply one of them.")
    return ReferenceScale(*next(iter(found), (1, 1)))


def fit_settings(settings: SampleSettings, scale: ReferenceScale) -> tuple[SampleSettings, tuple[str, ...]]:
    """Sides and frames that the clip and its smaller reference both can have, and a sentence for each change.

    Raises:
        LTX2Error: a side would become 0.
    """
    width, height, size = snap_size(settings.width, settings.height, COMPRESSION.space * scale.spatial)
    frames = snap_frames(settings.frames, replace(COMPRESSION, time=COMPRESSION.time * scale.temporal))
    return replace(settings, width=width, height=height, frames=frames.value), tuple(m for m in (size, frames.message) if m)


def _said(fit: tuple[SampleSettings, tuple[str, ...]], reporter: Reporter) -> SampleSettings:
    settings, messages = fit
    for text in messages:
        reporter.message(text, "warning")
    return settings


def reference_frames(frames: Tensor, settings: SampleSettings, scale: ReferenceScale) -> Tensor:
    """The frames that are encoded: as long as the clip, then the first and every ``temporal``-th after it.

    Raises:
        LTX2Error: fewer frames than the clip has.
    """
    if len(frames) < settings.frames:
        longest = snap_frames(len(frames)).value if len(frames) else 0
        hint = f"give a longer one, or ask for {longest} frames" if longest else "give one"
        raise LTX2Error(f"The reference video has {len(frames)} frames and the clip needs {settings.frames}; {hint}.")
    return frames[[0, *range(1, settings.frames, scale.temporal)]]


def encode_reference(models: Models, reference: Reference, settings: SampleSettings, scale: ReferenceScale, residency: Residency, reporter: Reporter) -> Tensor:
    """Latents [1, 128, f, h, w] float32 of the reference at the clip's size divided by the adapter's factor."""
    chosen = reference_frames(reference.frames, settings, scale)
    if len(reference.frames) > settings.frames:
        reporter.message(f"Of the reference's {len(reference.frames)} frames the first {settings.frames} are used, as many as the clip has.")
    small = replace(settings, width=settings.width // scale.spatial, height=settings.height // scale.spatial)
    return encode_pictures(models, chosen, small, residency)


def reference_noise(settings: SampleSettings, latents: Tensor) -> Tensor:
    """[B, 128, f, h, w] for a reference that is not kept wholly, the same on every device."""
    return noise_beside(settings, tuple(latents.shape[2:]), _NOISE)


def with_reference(video: State, latents: Tensor, noise: Tensor, frame_rate: float, scale: ReferenceScale, strength: float = 1.0) -> State:
    """``video`` with the tokens of ``latents`` [B or 1, 128, f, h, w] in front.

    Source of the coordinates: see :func:`ltx2core.train.reference.reference_coords`.

    Raises:
        LTX2Error: the video is held, so nothing would be made.
    """
    if video.held:
        raise LTX2Error("A video that is held clean takes no reference; leave one of the two away.")
    batch = video.tokens.shape[0]
    clean = pack_video(latents.to(video.tokens)).expand(batch, -1, -1)
    mask = torch.full_like(clean[..., :1], 1 - strength)
    tokens = torch.lerp(clean, pack_video(noise.to(video.tokens)).expand(batch, -1, -1), mask)
    coords = reference_coords(batch, tuple(latents.shape[2:]), frame_rate, scale).to(video.coords)
    front = (tokens, clean, mask, coords)
    joined = (torch.cat((a, b), dim=d) for a, b, d in zip(front, (video.tokens, video.clean, video.mask, video.coords), (1, 1, 1, 2), strict=True))
    return State(*joined)


def without_reference(video: State, cells: tuple[int, int, int]) -> State:
    """The clip alone, of a state that had a reference of ``cells`` (frames, height, width) in front."""
    count = cells[0] * cells[1] * cells[2]
    return State(video.tokens[:, count:], video.clean[:, count:], video.mask[:, count:], video.coords[:, :, count:], video.held)


def reference_cells(settings: SampleSettings, scale: ReferenceScale) -> tuple[int, int, int]:
    """Latent cells of a clip's reference."""
    frames, height, width = settings.latent_size
    return latent_frames((settings.frames - 1) // scale.temporal + 1), height // scale.spatial, width // scale.spatial


def reference_to_video(
    models: Models, settings: SampleSettings, reference: Reference | CachedReference, positive: TextFeatures, negative: TextFeatures | None = None, given: Given = Given(),  # noqa: B008
    *, residency: Residency, reporter: Reporter, stop: StopSignal, scale: ReferenceScale | None = None,
) -> Latents:  # fmt: skip
    """Video and sound that follow a reference, with whatever else is given.

    Args:
        scale: how many times smaller the model was trained to see it; None for what the models' adapters say.

    Raises:
        LTX2Error: a reference shorter than the clip, a whole video beside it, adapters of different scales or that do not fit.
        Interrupted: a person asked to stop.
    """
    if given.video is not None:
        raise LTX2Error("A whole video is given, so only its sound would be made; take the reference away, or the video.")
    if scale is None:
        scale = reference_scale(models.adapters)
        if not models.adapters:
            reporter.message("No adapter is applied; only an IC-LoRA knows what a reference video is for.", "warning")
    settings = _said(fit_settings(settings, scale), reporter)
    # A clip that follows its sound has another length, which must suit the reference too.
    settings = _said(fit_settings(fitted(given, settings, reporter), scale), reporter)
    latents = reference.encoded(models, settings, scale, residency, reporter)
    noise, audio_noise = (n.to(residency.device) for n in make_noise(settings))
    video, audio = given_states(models, settings, given, noise, audio_noise, reporter, residency)
    video = with_reference(video, latents, reference_noise(settings, latents), settings.frame_rate, scale, reference.strength)
    video, audio = run_states(models, settings, positive, negative, video, audio, residency=residency, reporter=reporter, stop=stop)
    made = to_latents(settings, without_reference(video, reference_cells(settings, scale)), audio, given.result_sound)
    return replace(made, video=made.video.cpu(), audio=made.audio.cpu())
