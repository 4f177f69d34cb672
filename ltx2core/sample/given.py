"""What a run is given besides its prompt: pictures, a beginning, a sound, a whole video; and how that becomes latents."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import LTX2Error
from ..geometry import pixel_frames, snap_frames
from ..media.audio import Waveform, fit_length, resample
from ..media.video import cover
from ..models.audio import SAMPLE_RATE, encode_audio
from ..models.handle import Models
from ..models.vae_memory import usual_memory
from ..models.video import encode_video, encode_working_bytes
from ..protocols import Reporter, Residency
from .settings import SampleSettings

SOUND_FITS = ("fit_sound", "fit_video", "refuse")


@dataclass(frozen=True)
class Picture:
    """image uint8 [1, H, W, 3] of any size, at pixel frame ``frame`` (negative: from the end).

    Strength 1 keeps the first frame's picture exactly, and shows a later one's to the model as it is.
    """

    image: Tensor
    frame: int = 0
    strength: float = 1.0


@dataclass(frozen=True)
class Beginning:
    """The last ``frames`` uint8 [F, H, W, 3] of a clip that goes on, and their sound; both are kept."""

    frames: Tensor
    sound: Waveform | None = None


@dataclass(frozen=True)
class Given:
    """All of it is optional; what is not given is made.

    sound: held clean, the result's own. sound_fit: what is done when it is not as long as the clip: ``fit_sound`` trims
    or pads it, ``fit_video`` makes the clip as long as the sound, ``refuse`` stops.
    video: uint8 [F, H, W, 3], held, for which only sound is made. first_latents [1, 128, 1, H', W'] and sound_latents
    [1, 8, T, 16]: a cached first frame and sound, normalised. heard: the sound that ``sound_latents`` were made of, to be
    the result's; without it they are decoded.
    """

    pictures: tuple[Picture, ...] = ()
    beginning: Beginning | None = None
    sound: Waveform | None = None
    sound_fit: str = "fit_sound"
    video: Tensor | None = None
    first_latents: Tensor | None = None
    sound_latents: Tensor | None = None
    heard: Waveform | None = None

    def __post_init__(self) -> None:
        if self.sound_fit not in SOUND_FITS:
            raise LTX2Error(f"sound_fit is {self.sound_fit!r}; choose one of {', '.join(SOUND_FITS)}.")
        for sound in (self.sound, self.heard, self.beginning.sound if self.beginning is not None else None):
            _check_sound(sound)
        sounds = [self.sound is not None, self.sound_latents is not None, self.beginning is not None and self.beginning.sound is not None]
        if sum(sounds) > 1:
            raise LTX2Error("Two sounds are given for one clip; give one of them.")
        if self.video is not None and (any(sounds) or self.pictures or self.beginning or self.first_latents is not None):
            raise LTX2Error("A whole video is given, so only its sound is made; take the pictures and the sound away.")
        if self.beginning is not None and (self.first_latents is not None or any(p.frame == 0 for p in self.pictures)):
            raise LTX2Error("A beginning and a first picture are given for one clip; give one of them.")

    @property
    def result_sound(self) -> Waveform | None:
        """What is heard in place of a decoded sound."""
        return self.heard if self.sound is None else self.sound

    @property
    def mode(self) -> str:
        """For messages and recipes."""
        if self.video is not None:
            return "video to sound"
        names = [
            "extend" if self.beginning is not None else "",
            "image" if self.pictures or self.first_latents is not None else "",
            "sound" if self.sound is not None or self.sound_latents is not None else "",
        ]
        return " and ".join(n for n in names if n) + " to video" if any(names) else "text to video"


def _check_sound(sound: Waveform | None) -> None:
    if sound is None:
        return
    if not sound.samples.numel():
        raise LTX2Error("The sound that is given is empty; give one that lasts some time, or take it away.")
    if not sound.samples.isfinite().all():
        raise LTX2Error("The sound that is given holds values that are no numbers; give another file, or save it again.")


def fitted(given: Given, settings: SampleSettings, reporter: Reporter) -> SampleSettings:
    """Settings whose length suits what is given; every change and cut is said.

    Raises:
        LTX2Error: a sound of another length where that is refused, a video or beginning that does not suit the clip.
    """
    if given.video is not None:
        settings = _as_long_as(settings, snap_frames(len(given.video)).value, len(given.video), reporter)
    if given.sound is not None:
        settings = _with_sound(given.sound, given.sound_fit, settings, reporter)
    if given.beginning is not None and len(given.beginning.frames) >= settings.frames:
        raise LTX2Error(
            f"The beginning has {len(given.beginning.frames)} frames and the clip {settings.frames}, so nothing would be new; "
            "ask for more frames, or give fewer to begin with."
        )
    return settings


def _as_long_as(settings: SampleSettings, frames: int, have: int, reporter: Reporter) -> SampleSettings:
    if frames != settings.frames:
        reporter.message(f"The clip gets {frames} frames, as many as the video of {have} frames gives, in place of {settings.frames}.", "warning")
    return replace(settings, frames=frames)


def _with_sound(sound: Waveform, fit: str, settings: SampleSettings, reporter: Reporter) -> SampleSettings:
    seconds, have = settings.frames / settings.frame_rate, sound.seconds
    if abs(have - seconds) < 0.5 / settings.frame_rate:
        return settings
    lengths = f"The sound lasts {have:.2f} s, the video {seconds:.2f} s"
    if fit == "refuse":
        raise LTX2Error(f"{lengths}; cut the sound, ask for {round(have * settings.frame_rate)} frames, or let sound_fit be another.")
    if fit == "fit_video":
        frames = snap_frames(max(1, round(have * settings.frame_rate))).value
        reporter.message(f"{lengths}; the video becomes {frames} frames long.", "warning")
        return replace(settings, frames=frames)
    reporter.message(f"{lengths}; silence follows it." if have < seconds else f"{lengths}; the sound is cut there.", "warning")
    return settings


def check_strength(strength: float) -> float:
    if not 0 <= strength <= 1:
        raise LTX2Error(f"The strength of a picture is {strength}; choose a number from 0 to 1.")
    return strength


def encode_pictures(models: Models, frames: Tensor, settings: SampleSettings, residency: Residency) -> Tensor:
    """Latents [1, 128, F', H', W'] float32 of uint8 [F, H, W, 3] of any size: covered and cropped to the settings' size."""
    size = (settings.width, settings.height)
    # In the VAE's type before they are moved: a long video is large.
    pixels = (cover_frames(frames, size).permute(3, 0, 1, 2)[None].float() / 127.5 - 1).to(models.dtype)
    vae, memory = models.component("video_vae"), usual_memory(residency.device)
    with torch.no_grad(), residency.use(vae, pixels.nbytes + encode_working_bytes(len(frames), size[1], size[0], models.dtype, memory)):
        return encode_video(vae, pixels.to(residency.device), memory).float()


def cover_frames(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 [F, H, W, 3] covered and cropped to (width, height)."""
    if frames.shape[1:3] == (size[1], size[0]):
        return frames.cpu()
    return torch.stack([torch.from_numpy(np.array(cover(Image.fromarray(f.numpy()), size))) for f in frames.cpu()])


def encode_sound(models: Models, sound: Waveform, settings: SampleSettings, residency: Residency) -> Tensor:
    """Latents [1, 8, T, 16] float32 of the first seconds of ``sound``, as long as the clip."""
    return _encode(models, sound, settings.frames / settings.frame_rate, settings.audio_length, residency)


def encode_beginning(models: Models, beginning: Beginning, settings: SampleSettings, reporter: Reporter, residency: Residency) -> tuple[Tensor, Tensor | None]:
    """Latents of the pictures and of their sound, of the last 8k+1 frames that were given."""
    snapped = snap_frames(len(beginning.frames))
    if snapped.message:
        reporter.message(f"Of the beginning the last {snapped.value} of {len(beginning.frames)} frames are used.", "warning")
    frames = beginning.frames[-snapped.value :]
    video = encode_pictures(models, frames, settings, residency)
    if beginning.sound is None:
        return video, None
    seconds = snapped.value / settings.frame_rate
    skipped = max(0, round((beginning.sound.seconds - seconds) * beginning.sound.rate))
    last = Waveform(beginning.sound.samples[:, skipped:], beginning.sound.rate)
    return video, _encode(models, last, seconds, max(1, round(pixel_frames(video.shape[2]) / settings.frame_rate * 25)), residency)


def _encode(models: Models, sound: Waveform, seconds: float, length: int, residency: Residency) -> Tensor:
    samples = fit_length(resample(sound, SAMPLE_RATE), seconds).samples[None]
    vae = models.component("audio_vae")
    with torch.no_grad(), residency.use(vae):
        return encode_audio(vae, samples.to(residency.device), length).float()
