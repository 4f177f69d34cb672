"""A checkpoint with the components that are loaded of it, and the adapters that sampling applies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from ..checkpoint.adapter import Adapter
from ..checkpoint.combined import Checkpoint
from ..errors import LTX2Error
from . import build
from .audio_branch import load_audio_branch

DTYPES = {"bf16": torch.bfloat16, "float32": torch.float32}

_LOADERS: dict[str, Callable[..., nn.Module]] = {
    "transformer": build.load_transformer,
    "audio_branch": load_audio_branch,
    "video_vae": build.load_video_vae,
    "audio_vae": build.load_audio_vae,
    "vocoder": build.load_vocoder,
}
# Mel spectrograms and the vocoder are small, and bfloat16 is heard in them.
_ALWAYS_FLOAT32 = ("audio_vae", "vocoder")


def weight_dtype(name: str, device: torch.device) -> torch.dtype:
    """``bf16``, ``float32``, or ``auto``: bfloat16 on an accelerator, float32 on a CPU, where bfloat16 is slower."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if name not in DTYPES:
        raise LTX2Error(f"The weight type {name!r} is not known; choose auto, {' or '.join(DTYPES)}.")
    return DTYPES[name]


@dataclass(frozen=True)
class Models:
    """What the wire LTX2_CHECKPOINT carries. Copies made by :meth:`with_adapters` share the loaded components.

    ``adapters`` are (adapter, strength) pairs; they never touch the base weights. ``kept``: what holds the weights of a
    component while they are streamed, see ``memory.sampling.kept_streams``; shared as the components are.
    """

    checkpoint: Checkpoint
    dtype: torch.dtype
    adapters: tuple[tuple[Adapter, float], ...] = ()
    _loaded: dict[str, nn.Module] = field(default_factory=dict, repr=False)
    kept: dict[str, object] = field(default_factory=dict, repr=False)

    def component(self, name: str) -> nn.Module:
        """The component on the CPU (or wherever the residency left it), loaded at the first call."""
        if name not in self._loaded:
            dtype = torch.float32 if name in _ALWAYS_FLOAT32 else self.dtype
            self._loaded[name] = _LOADERS[name](self.checkpoint, dtype=dtype)
        return self._loaded[name]

    def hold(self, name: str, module: nn.Module) -> None:
        """``module`` is the component from now on, for all copies; the one that was loaded is forgotten."""
        self._loaded[name] = module

    def loaded(self, name: str) -> nn.Module | None:
        """The component if it is loaded."""
        return self._loaded.get(name)

    def drop(self, name: str) -> None:
        """Forget a component, for all copies; it is read from the file when it is next asked for."""
        self._loaded.pop(name, None)

    def with_adapters(self, *pairs: tuple[Adapter, float]) -> Models:
        """These models with ``pairs`` added to the adapters already there.

        Raises:
            LTX2Error: an adapter was made for another family.
        """
        for adapter, _ in pairs:
            if adapter.family and adapter.family != self.checkpoint.family.name:
                raise LTX2Error(
                    f"The adapter {adapter.name} was trained for {adapter.family}, but {self.checkpoint.path.name} is "
                    f"{self.checkpoint.family.name}; choose an adapter of the same family."
                )
        return replace(self, adapters=self.adapters + pairs)
