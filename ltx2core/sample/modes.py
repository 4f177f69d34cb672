"""Text, pictures, sound or video to video and sound."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry import pixel_frames
from ..media.audio import Waveform
from ..models.handle import Models
from ..protocols import Reporter, Residency, StopSignal
from ..text.features import TextFeatures
from .conditions import Keyframe, State, audio_state, video_state
from .given import Given, Picture, cover_frames, encode_beginning, encode_pictures, encode_sound, fitted
from .guides import encode_guides, guided
from .loop import Latents, to_latents
from .noise import make_noise
from .published import takes_reference
from .run import run_states
from .settings import SampleSettings


def _run(
    models: Models, settings: SampleSettings, positive: TextFeatures, negative: TextFeatures | None, video: State, audio: State,
    *, residency: Residency, reporter: Reporter, stop: StopSignal, sound: Waveform | None = None, pictures: Tensor | None = None,
) -> Latents:  # fmt: skip
    video, audio = run_states(models, settings, positive, negative, video, audio, residency=residency, reporter=reporter, stop=stop)
    latents = to_latents(settings, video, audio, sound)
    return Latents(latents.video.cpu(), latents.audio.cpu(), latents.frame_rate, latents.sound, pictures)


def _snapped(settings: SampleSettings, reporter: Reporter) -> SampleSettings:
    settings, messages = settings.snapped()
    for text in messages:
        reporter.message(text, "warning")
    return settings


def _noise(settings: SampleSettings, device: torch.device) -> tuple[Tensor, Tensor]:
    return tuple(n.to(device) for n in make_noise(settings))


def make(models: Models, settings: SampleSettings, positive: TextFeatures, negative: TextFeatures | None = None, given: Given = Given(), **services) -> Latents:  # noqa: B008
    """Video and sound of a prompt and of what is given. ``services``: residency, reporter, stop.

    Raises:
        LTX2Error: sizes that would become 0, things given that do not suit the clip, an adapter that does not fit.
        Interrupted: a person asked to stop.
    """
    reporter, residency = services["reporter"], services["residency"]
    for name in takes_reference(models.adapters):
        reporter.message(f"{name} is an IC-LoRA and no reference video is given, so it has nothing to follow; give one.", "warning")
    settings = fitted(given, _snapped(settings, reporter), reporter)
    noise, audio_noise = _noise(settings, residency.device)
    if given.video is not None:
        pictures = cover_frames(given.video[: settings.frames], (settings.width, settings.height))
        held = encode_pictures(models, pictures, settings, residency)
        return _run(models, settings, positive, negative, video_state(settings, noise, held=held), audio_state(audio_noise), pictures=pictures, **services)
    states = given_states(models, settings, given, noise, audio_noise, reporter, residency)
    return _run(models, settings, positive, negative, *states, sound=given.result_sound, **services)


def given_states(
    models: Models, settings: SampleSettings, given: Given, noise: Tensor, audio_noise: Tensor, reporter: Reporter, residency: Residency
) -> tuple[State, State]:
    """The first states of picture and sound, with what is given in its place; a whole video is not."""
    begun, sound_start, taken = [], None, 0
    if given.beginning is not None:
        latents, sound_start = encode_beginning(models, given.beginning, settings, reporter, residency)
        begun, taken = [Keyframe(latents)], pixel_frames(latents.shape[2])
    if given.first_latents is not None:
        begun, taken = [Keyframe(given.first_latents)], 1
    keyframes, guides = encode_guides(models, given.pictures, settings, residency, taken)
    video = guided(video_state(settings, noise, (*begun, *keyframes)), guides, settings)
    sound = given.sound_latents if given.sound is None else encode_sound(models, given.sound, settings, residency)
    return video, audio_state(audio_noise, sound, sound_start)


def text_to_video(models: Models, settings: SampleSettings, positive: TextFeatures, negative: TextFeatures | None = None, **services) -> Latents:
    """Video and sound of a prompt alone."""
    return make(models, settings, positive, negative, **services)


def image_to_video(
    models: Models, settings: SampleSettings, image: Tensor, positive: TextFeatures, negative: TextFeatures | None = None, *, strength: float = 1.0, **services
) -> Latents:
    """The same, beginning with ``image``, uint8 [1, H, W, 3] of any size; ``strength`` 1 keeps it exactly."""
    return make(models, settings, positive, negative, Given((Picture(image, 0, strength),)), **services)


def sound_to_video(models: Models, settings: SampleSettings, sound: Waveform, positive: TextFeatures, negative: TextFeatures | None = None, **services) -> Latents:
    """A video for ``sound``, which is held clean at sigma 0 and is the result's own sound."""
    return make(models, settings, positive, negative, Given(sound=sound), **services)
