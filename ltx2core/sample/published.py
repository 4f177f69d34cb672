"""The adapters that Lightricks published for LTX-2 19B, and the settings that each is meant for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ..checkpoint.adapter import Adapter
from ..checkpoint.adapter_info import reference_factors
from ..errors import LTX2Error
from .settings import SampleSettings
from .sigmas import DISTILLED


@dataclass(frozen=True)
class Preset:
    """Sampling settings that an adapter asks for: names and values of :class:`SampleSettings`. Empty changes nothing."""

    name: str = ""
    values: Mapping[str, object] = field(default_factory=dict)

    def apply(self, settings: SampleSettings) -> SampleSettings:
        return replace(settings, **self.values)

    def __str__(self) -> str:
        return ", ".join(f"{k} {v}" for k, v in self.values.items()) or "no settings of its own"


NO_PRESET = Preset()
# Guidance is distilled into the weights, and each term of it would cost a pass more: all are off.
DISTILLED_PRESET = Preset(
    "distilled",
    MappingProxyType({"schedule": "distilled", "steps": len(DISTILLED) - 1, "video_cfg": 1.0, "audio_cfg": 1.0, "stg": 0.0, "modality": 1.0, "rescale": 0.0}),
)


@dataclass(frozen=True)
class Published:
    """One file of the hub.

    reference: what the reference video of an IC-LoRA shows; empty for adapters that take none. prompt: what the prompt
    should say for the adapter to act. strength: to begin with.
    """

    label: str
    repo: str
    reference: str = ""
    prompt: str = ""
    strength: float = 1.0
    preset: Preset = NO_PRESET

    @property
    def stem(self) -> str:
        return self.repo.partition("/")[2].lower()

    @property
    def hub_name(self) -> str:
        """As ``hub.find_file`` takes it."""
        return f"{self.repo}:{self.stem}.safetensors"


def _control(what: str, reference: str) -> Published:
    return Published(f"IC-LoRA {what}", f"Lightricks/LTX-2-19b-IC-LoRA-{what.replace(' ', '-')}", reference, "the finished picture, as without the adapter")


def _camera(move: str, prompt: str) -> Published:
    return Published(f"Camera {move}", f"Lightricks/LTX-2-19b-LoRA-Camera-Control-{move.replace(' ', '-')}", prompt=prompt)


PUBLISHED: tuple[Published, ...] = (
    _control("Canny Control", "white Canny edges on black"),
    _control("Depth Control", "a depth map in grey"),
    _control("Detailer", "the video that is to get finer detail"),
    _control("Pose Control", "drawn skeletons of the people on black"),
    _camera("Dolly In", "the camera moves forward, towards the subject"),
    _camera("Dolly Out", "the camera moves back, away from the subject"),
    _camera("Dolly Left", "the camera moves to the left"),
    _camera("Dolly Right", "the camera moves to the right"),
    _camera("Jib Down", "the camera sinks"),
    _camera("Jib Up", "the camera rises"),
    _camera("Static", "the camera does not move"),
    Published("Distilled", "Lightricks/LTX-2-19b-distilled-lora-384", preset=DISTILLED_PRESET),
)
_BY_LABEL = {p.label: p for p in PUBLISHED}
_BY_STEM = {p.stem: p for p in PUBLISHED}


def published(label: str) -> Published:
    """Raises LTX2Error for a label that is not in the list."""
    if label not in _BY_LABEL:
        raise LTX2Error(f"There is no published adapter {label!r}; choose one of {', '.join(_BY_LABEL)}.")
    return _BY_LABEL[label]


def recognised(name: str) -> Published | None:
    """The published adapter of an adapter's name (its file's, without ending), wherever the file lies."""
    return _BY_STEM.get(name.lower())


def preset_of(name: str) -> Preset:
    """What sampling should be set to with the adapter ``name``."""
    known = recognised(name)
    return known.preset if known else NO_PRESET


def takes_reference(adapters: Sequence[tuple[Adapter, float]]) -> tuple[str, ...]:
    """Names of those among them that act and are IC-LoRAs, by their metadata or as published ones."""
    return tuple(
        adapter.name for adapter, strength in adapters
        if strength != 0 and (reference_factors(adapter.metadata) is not None or bool((known := recognised(adapter.name)) and known.reference))
    )  # fmt: skip
