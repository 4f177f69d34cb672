"""What docs/run-file.md has to say of every field of a run file: its name, type and default, from the records themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from ltx2core.data.spec import CaptionShuffle, DatasetSpec
from ltx2core.memory.engine import MemorySettings
from ltx2core.models.vae_memory import Tiling, VaeMemory
from ltx2core.runspec import CacheFiles, RunFile, SampleJob
from ltx2core.sample.settings import SampleSettings
from ltx2core.strict import to_plain
from ltx2core.train.conditioning import Condition, ConditioningSettings
from ltx2core.train.crepa import CrepaSettings
from ltx2core.train.reflexflow import ReflexFlowSettings
from ltx2core.train.rollout_settings import RolloutSettings
from ltx2core.train.settings import LoRASettings, TimestepSettings, TrainSettings
from ltx2core.train.tracking_settings import TrackingSettings
from ltx2core.train.tread import TreadRoute

# Heading of the page -> the record that it is about.
SECTIONS: Mapping[str, type] = {
    "The file": RunFile, "A dataset": DatasetSpec, "caption_shuffle": CaptionShuffle, "caches": CacheFiles, "lora": LoRASettings, "train": TrainSettings,
    "train.timesteps": TimestepSettings, "train.conditioning": ConditioningSettings, "A condition": Condition, "train.tread": TreadRoute, "train.rollout": RolloutSettings,
    "train.reflexflow": ReflexFlowSettings, "train.crepa": CrepaSettings, "train.tracking": TrackingSettings, "memory": MemorySettings, "vae": VaeMemory,
    "vae.tiling": Tiling, "A sample": SampleJob, "samples.settings": SampleSettings,
}  # fmt: skip
_NAMES = {int: "whole number", float: "number", str: "text", bool: "true or false", NoneType: "null"}


def type_name(hint: Any) -> str:
    """In JSON's words."""
    if hint in _NAMES:
        return _NAMES[hint]
    if is_dataclass(hint) or hint is Mapping or get_origin(hint) is Mapping:
        return "object"
    if hint is tuple or get_origin(hint) is tuple:
        return "list"
    return " or ".join(type_name(option) for option in get_args(hint))


def default_of(field: Field) -> str:
    if field.default is MISSING and field.default_factory is MISSING:
        return ""
    value = to_plain(field.default if field.default is not MISSING else field.default_factory())
    if isinstance(value, dict):
        return "its fields' own" if value else "`{}`"
    return f"`{json.dumps(value)}`"


def columns(kind: type) -> list[tuple[str, str, str]]:
    """(name, type, default) of every field of ``kind``, in order."""
    hints = get_type_hints(kind)
    return [(f.name, type_name(hints[f.name]), default_of(f)) for f in fields(kind) if f.init]
