"""What a configuration says for those of its datasets that do not say it themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Defaults:
    """What the configuration says for datasets that don't."""

    resolution: float = 1024.0
    resolution_type: str = "pixel_area"
    frame_rate: float = 25.0
    caption_strategy: str = "filename"
    instance_prompt: str = ""
    prepend: bool = False
    only_prompt: bool = False
    min_side: float = 0.0
    multiline: bool = True
    seed: int = 42
    folder: Path = Path()
    held_out: str = ""
    audio: Mapping[str, object] = field(default_factory=dict)
    parquet: Mapping[str, object] = field(default_factory=dict)
