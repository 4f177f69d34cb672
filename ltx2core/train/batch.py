"""From cached samples to the tensors of one step. All randomness comes from (seed, step, place in the batch)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ..cache.dataset import Sample
from ..errors import LTX2Error
from ..geometry import audio_latent_length, pixel_frames
from ..models.forward import Modality
from ..models.latents import audio_coords, pack_audio, pack_video, video_coords
from .audio_only import without_video
from .conditioning import ConditioningSettings, clean_video_tokens, frozen_stream, happens
from .objective import add_noise, velocity
from .randomness import generator
from .reference import find_scale, prepend_reference
from .settings import TrainSettings
from .timesteps import draw_sigma
from .tread import TreadRoute, kept_tokens


@dataclass(frozen=True)
class StreamInputs:
    """One modality of a step.

    tokens [B, N, C] noisy, clean where conditioned; target [B, N, C] float32 velocity; mask [B, N] float32 weights of
    the loss; sigma [B] float32; coords [B, axes, N, 2] float32; text [B, S, D];
    timesteps [B, N] float32, each its sample's sigma or 0; None when every token has its sample's sigma.
    drift [B, N, C] float32 tokens - x0, error [B, N, C] float32 by what the velocity at the exact state is another: of ReflexFlow, else None.
    """

    tokens: Tensor
    target: Tensor
    mask: Tensor
    sigma: Tensor
    coords: Tensor
    text: Tensor
    timesteps: Tensor | None = None
    drift: Tensor | None = None
    error: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> StreamInputs:
        return StreamInputs(**{f.name: None if (t := getattr(self, f.name)) is None else change(t) for f in fields(self)})

    def modality(self) -> Modality:
        noisy = None if self.timesteps is None else self.timesteps > 0
        return Modality(self.tokens, self.sigma, self.coords, self.text, noisy=noisy)


@dataclass(frozen=True)
class StepInputs:
    """Everything one forward and backward pass reads: tensors only, of one shape for one ``signature``.

    routes: of each TREAD route, the video tokens [B, K] that go through. teacher: CREPA's features [B, F, N, E] (E is 0
    where they are the model's own) and teacher_weight, its lambda [B] float32; None without CREPA. shares: [3] float32, what part of the global batch's clips with a
    video loss, with an audio loss, and of all its clips are here; None where this is the whole batch.
    """

    video: StreamInputs
    audio: StreamInputs
    routes: tuple[Tensor, ...] = ()
    teacher: Tensor | None = None
    teacher_weight: Tensor | None = None
    shares: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> StepInputs:
        extra = (None if t is None else change(t) for t in (self.teacher, self.teacher_weight, self.shares))
        return StepInputs(self.video.map(change), self.audio.map(change), tuple(change(t) for t in self.routes), *extra)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> StepInputs:
        return self.map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin(self) -> StepInputs:
        """In page-locked host memory, so that ``to(..., non_blocking=True)`` overlaps."""
        return self.map(lambda t: t.pin_memory())

    def tensors(self) -> dict[str, Tensor]:
        """ "video.tokens" … -> tensor, without those that are None; the same keys for one signature."""
        pairs = ((f"{s}.{f.name}", getattr(getattr(self, s), f.name)) for s in ("video", "audio") for f in fields(StreamInputs))
        extra = {k: t for k in ("teacher", "teacher_weight", "shares") if (t := getattr(self, k)) is not None}
        return {k: t for k, t in pairs if t is not None} | {f"routes.{i}": t for i, t in enumerate(self.routes)} | extra

    @property
    def signature(self) -> tuple:
        """Equal for steps that one captured graph can serve: names, shapes and dtypes."""
        return tuple((k, tuple(t.shape), t.dtype) for k, t in self.tensors().items())


@dataclass(frozen=True)
class Draw:
    """The random part of one sample. sigma: float32 [1]; noise like the tokens, float32; clean: bool [N], None for none.

    frozen: "video" or "audio" is given whole (its sigma is 0). reference: whether the sample sees its reference video.
    """

    video_sigma: Tensor
    audio_sigma: Tensor
    video_noise: Tensor
    audio_noise: Tensor
    video_clean: Tensor | None = None
    frozen: str | None = None
    reference: bool = True


def _audio_shape(sample: Sample) -> tuple[int, int, int]:
    """[C, T, M] of a clip's sound, had it any."""
    if sample.audio_latents is not None:
        return tuple(sample.audio_latents.shape)
    return (8, audio_latent_length(pixel_frames(sample.video_latents.shape[1]), sample.frame_rate), 16)


def _audio_tokens(sample: Sample) -> Tensor:
    latents = sample.audio_latents if sample.audio_latents is not None else torch.zeros(_audio_shape(sample))
    return pack_audio(latents[None].float())[0]


def _noise(sample: Sample, seed: int, *purpose: int | str) -> tuple[Tensor, Tensor]:
    video = torch.randn(sample.video_latents.shape[1:].numel(), sample.video_latents.shape[0], generator=generator(seed, "video_noise", *purpose))
    channels, length, bins = _audio_shape(sample)
    return video, torch.randn(length, channels * bins, generator=generator(seed, "audio_noise", *purpose))


def draw(sample: Sample, settings: TrainSettings, step: int, slot: int, offset: float = 0.0) -> Draw:
    """The random part of sample ``slot`` of batch ``step``.

    A clip's sound has a sigma of its own (from its own token count) when both are trained; a clip without sound takes
    its video's sigma, noised around zero latents, and has no audio loss.
    """
    seed = settings.seed
    video_noise, audio_noise = _noise(sample, seed, step, slot)
    video_sigma = draw_sigma(settings.timesteps, len(video_noise), generator(seed, "video_sigma", step, slot), offset=offset)
    own = settings.audio_only or (settings.timesteps.independent_audio and settings.audio_weight > 0 and sample.audio_latents is not None)
    audio_sigma = draw_sigma(settings.timesteps, len(audio_noise), generator(seed, "audio_sigma", step, slot), offset=offset) if own else video_sigma
    clean = clean_video_tokens(settings.conditions, tuple(sample.video_latents.shape[1:]), seed, step, slot)
    # A clip without sound has none to give, and nothing to learn from when its video is given.
    frozen = frozen_stream(settings.conditioning, seed, step, slot) if sample.audio_latents is not None else None
    zero = torch.zeros(1)
    video_sigma, audio_sigma = zero if frozen == "video" else video_sigma, zero if frozen == "audio" else audio_sigma
    reference = happens(settings.conditioning.reference, seed, "reference", step, slot)
    return Draw(video_sigma, audio_sigma, video_noise, audio_noise, clean if clean.any() and frozen != "video" else None, frozen, reference)


def fixed_draw(sample: Sample, sigma: float, seed: int, *purpose: int | str, frozen: str | None = None) -> Draw:
    """The draw of a validation pass: both streams at ``sigma`` but one that is ``frozen``, noise that is the same in every pass."""
    video_noise, audio_noise = _noise(sample, seed, "validation", *purpose)
    video_sigma, audio_sigma = (torch.tensor([0.0 if frozen == stream else sigma]) for stream in ("video", "audio"))
    return Draw(video_sigma, audio_sigma, video_noise, audio_noise, frozen=frozen)


def _stream(x0: Tensor, noise: Tensor, sigma: Tensor, trained: Tensor, clean: Tensor | None, coords: Tensor, text: Tensor, dtype: torch.dtype) -> StreamInputs:
    """x0, noise [B, N, C]; sigma [B]; trained [B] 0 or 1; clean [B, N] bool or None."""
    noisy, mask = add_noise(x0, noise, sigma[:, None, None]), trained[:, None].expand(x0.shape[:2])
    timesteps = None
    if clean is not None:
        noisy = torch.where(clean[..., None], x0, noisy)
        mask = mask * (~clean)
        timesteps = sigma[:, None] * (~clean)
    return StreamInputs(noisy.to(dtype), velocity(x0, noise), mask.contiguous(), sigma, coords.contiguous(), text.to(dtype), timesteps)


def _stack(what: str, tensors: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(t.shape) for t in tensors}
    if len(shapes) > 1:
        raise LTX2Error(f"Clips of one batch have {what} of {len(shapes)} shapes ({', '.join(map(str, sorted(shapes)))}); cache the dataset again.")
    return torch.stack(list(tensors))


def _weights(samples: Sequence[Sample], tokens: int) -> Tensor:
    """[B, N] by the samples' masks; 1 where a clip has none."""
    return _stack("masks", [torch.ones(tokens) if s.mask is None else s.mask.float().flatten() for s in samples])


def _kept(draws: Sequence[Draw], stream: str) -> Tensor:
    """[B] 0 for samples whose ``stream`` is given whole, else 1."""
    return torch.tensor([float(d.frozen != stream) for d in draws])


def _with_reference(video: StreamInputs, references: Sequence[Tensor], draws: Sequence[Draw], sample: Sample, dtype: torch.dtype, settings: ConditioningSettings) -> StreamInputs:
    latents = _stack("reference latents", references)
    scale = find_scale(tuple(sample.video_latents.shape[1:]), tuple(latents.shape[2:]), settings)
    return prepend_reference(video, latents, torch.tensor([d.reference for d in draws]), sample.frame_rate, scale, dtype)


def assemble(
    samples: Sequence[Sample], draws: Sequence[Draw], dtype: torch.dtype, references: Sequence[Tensor] | None = None,
    conditioning: ConditioningSettings = ConditioningSettings(),
) -> StepInputs:  # fmt: skip
    """Batch ``samples`` noised by ``draws``; float inputs of the model in ``dtype``, on the CPU.

    Args:
        references: one reference video's latents [128, f, h, w] a sample, put in front.

    Raises:
        LTX2Error: the samples' shapes differ (they are of different buckets).
    """
    batch = len(samples)
    x0 = _stack("video latents", [pack_video(s.video_latents[None].float())[0] for s in samples])
    a0 = _stack("audio latents", [_audio_tokens(s) for s in samples])
    frames, height, width = samples[0].video_latents.shape[1:]
    cleans = [d.video_clean for d in draws]
    clean = None
    if any(c is not None for c in cleans):
        clean = torch.stack([torch.zeros(x0.shape[1], dtype=torch.bool) if c is None else c for c in cleans])
    has_sound = torch.tensor([float(s.audio_latents is not None) for s in samples])
    video = _stream(
        x0, torch.stack([d.video_noise for d in draws]), torch.cat([d.video_sigma for d in draws]), _kept(draws, "video"), clean,
        video_coords(batch, frames, height, width, samples[0].frame_rate), _stack("text features", [s.text_video for s in samples]), dtype,
    )  # fmt: skip
    if any(s.mask is not None for s in samples):
        video = replace(video, mask=video.mask * _weights(samples, x0.shape[1]))
    audio = _stream(
        a0, torch.stack([d.audio_noise for d in draws]), torch.cat([d.audio_sigma for d in draws]), has_sound * _kept(draws, "audio"), None,
        audio_coords(batch, a0.shape[1]), _stack("text features", [s.text_audio for s in samples]), dtype,
    )  # fmt: skip
    if references is not None:
        video = _with_reference(video, references, draws, samples[0], dtype, conditioning)
    return StepInputs(video, audio)


def prepare(
    samples: Sequence[Sample], step: int, settings: TrainSettings, dtype: torch.dtype, empty_text: tuple[Tensor, Tensor] | None = None,
    references: Sequence[Tensor] | None = None, offsets: Sequence[float] | None = None, slots: Sequence[int] | None = None,
) -> StepInputs:  # fmt: skip
    """The inputs of batch ``step`` (counted over accumulation too), on the CPU.

    Args:
        samples: of one bucket.
        dtype: the model's; noise is drawn and added in float32.
        empty_text: the empty prompt's features, needed when ``caption_dropout`` is above 0.
        references: see :func:`assemble`.
        offsets: of each sample's sigma, see ``timesteps.draw_sigma``.
        slots: the samples' places in the batch, which their random numbers belong to; from 0 on when None.
    """
    slots = range(len(samples)) if slots is None else slots
    if settings.caption_dropout > 0:
        if empty_text is None:
            raise LTX2Error("caption_dropout needs the empty prompt's text features; cache the dataset again.")
        samples = [
            replace(s, text_video=empty_text[0], text_audio=empty_text[1])
            if happens(settings.caption_dropout, settings.seed, "caption", step, slot) else s
            for slot, s in zip(slots, samples, strict=True)
        ]  # fmt: skip
    if settings.audio_only:
        samples = [replace(s, video_latents=torch.zeros(without_video(s)), mask=None) for s in samples]
    offsets = offsets or [0.0] * len(samples)
    draws = [draw(s, settings, step, slot, offset) for slot, s, offset in zip(slots, samples, offsets, strict=True)]
    inputs = assemble(samples, draws, dtype, references, settings.conditioning)
    if settings.audio_only:
        inputs = replace(inputs, video=replace(inputs.video, mask=torch.zeros_like(inputs.video.mask)))
    return replace(inputs, routes=_routes(inputs.video, samples[0], settings, step, slots)) if settings.tread else inputs


def _routes(video: StreamInputs, sample: Sample, settings: TrainSettings, step: int, slots: Sequence[int]) -> tuple[Tensor, ...]:
    """The tokens of a reference, which stand in front of those of the clip, all go through."""
    tokens = sample.video_latents.shape[1:].numel()
    front = video.mask.shape[1] - tokens
    given = None if video.timesteps is None else video.timesteps[:, front:] == 0

    def kept(route: TreadRoute, number: int, place: int, slot: int) -> Tensor:
        own = kept_tokens(route, tokens, None if given is None else given[place], settings.seed, step, slot, number)
        return torch.cat((torch.arange(front), own + front))

    return tuple(torch.stack([kept(route, number, i, slot) for i, slot in enumerate(slots)]) for number, route in enumerate(settings.tread))
