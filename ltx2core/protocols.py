"""The four seams to whatever program runs the core: residency, reporter, stop signal, paths.

Standalone implementations are in ``standalone.py``; ComfyUI's are in ``nodes/host/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from .errors import LTX2Error


class Interrupted(LTX2Error):
    """A person asked to stop; whatever had been finished is saved and queueing again goes on."""


@dataclass(frozen=True)
class Room:
    """Bytes of a device. free: that nothing uses now; most: that would be free if all modules that are not in use had left it."""

    free: int
    most: int


class Residency(Protocol):
    """Decides what lies on the device. One program has one of these."""

    device: torch.device

    def use(self, module: torch.nn.Module, working_bytes: int = 0) -> AbstractContextManager[torch.nn.Module]:
        """Hold ``module`` on ``device`` inside the ``with`` block, with ``working_bytes`` free beside it.

        After the block the module may be moved away; its weights are never lost.
        """
        ...

    def release(self, module: torch.nn.Module) -> None:
        """Take ``module`` off the device now and forget it."""
        ...

    def room(self) -> Room:
        """What the next module and its work may take, beside the modules of open blocks."""
        ...


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` units of ``stage`` ("cache", "train", "sample", "decode" …)."""

    stage: str
    done: int
    total: int
    text: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    preview: object | None = None  # a PIL image


@dataclass(frozen=True)
class PreviewMade:
    """A film of optimizer step ``step`` of the run named ``run``; ``file`` lies in the run's folder, with / between parts."""

    run: str
    step: int
    file: str


@dataclass(frozen=True)
class MemoryPlanned:
    """Predicted peak bytes of a run on its device, by part, of the ``device`` bytes that were free for it.

    adapter: its values and their gradients. text: how the base lies, for people.
    """

    weights: int
    adapter: int
    optimizer: int
    activations: int
    device: int
    text: str


class Reporter(Protocol):
    def progress(self, event: Progress) -> None: ...

    def message(self, text: str, level: str = "info") -> None:
        """One plain sentence for the person. ``level``: info, warning or error."""
        ...

    def preview(self, event: PreviewMade) -> None:
        """A preview of a run in training lies on disk now."""
        ...

    def memory(self, event: MemoryPlanned) -> None:
        """How the memory of a run was decided."""
        ...


class StopSignal(Protocol):
    def requested(self) -> bool:
        """True once a person asked to stop. Asked between steps; never raises."""
        ...


class PathResolver(Protocol):
    def checkpoint(self, name: str) -> Path: ...

    def text_encoder(self, name: str) -> Path: ...

    def lora(self, name: str) -> Path: ...

    def loras_dir(self) -> Path:
        """Where trained adapters are written so that loaders list them."""
        ...

    def output_dir(self) -> Path: ...

    def cache_dir(self) -> Path: ...
