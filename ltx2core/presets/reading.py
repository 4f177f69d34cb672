"""Reading a preset and turning it into settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LTX2Error
from ..strict import from_dict, nearest
from ..train.settings import RunConfig

_HERE = Path(__file__).resolve().parent
NAMES = ("subject", "style", "motion", "voice")


@dataclass(frozen=True)
class Value:
    """One setting. ``setting``: its path in a run's settings, such as train.steps. ``source``: where its value is published."""

    setting: str
    value: Any
    source: str

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise LTX2Error(f"The preset's value of {self.setting} has no source; name the file, issue or measurement that it comes from.")


@dataclass(frozen=True)
class Advice:
    """One sentence about the clips, and where it comes from."""

    advice: str
    source: str


@dataclass(frozen=True)
class Preset:
    """``describes``: for what. Settings that no value names keep the pack's defaults."""

    name: str
    describes: str
    values: tuple[Value, ...]
    advice: tuple[Advice, ...]

    def to_dict(self) -> dict[str, Any]:
        """The values as a run file has them: {"lora": {...}, "train": {...}}."""
        tree: dict[str, Any] = {"lora": {}, "train": {}}
        for given in self.values:
            *path, last = given.setting.split(".")
            place = tree
            for part in path:
                place = place.setdefault(part, {})
            place[last] = given.value
        return tree

    def config(self) -> RunConfig:
        """Raises LTX2Error for a setting that does not exist or a value that it does not take."""
        return RunConfig.from_dict(self.to_dict())

    def report(self, say: Callable[[str], str] = str) -> str:
        """Every value with its source, and what is said of the clips, as lines. ``say`` tells the sentences in another language."""
        values = [f"{v.setting} = {v.value}   ({v.source})" for v in self.values]
        advice = [f"{say(a.advice)}   ({a.source})" for a in self.advice]
        return "\n".join([f"{self.name}: {say(self.describes)}", *values, say("About the clips:"), *advice])


def preset(name: str) -> Preset:
    """The preset called ``name``.

    Raises:
        LTX2Error: there is none of that name; the nearest one is named.
    """
    if name not in NAMES:
        raise LTX2Error(f"There is no preset {name!r}; {nearest(name, NAMES)}")
    return from_dict(Preset, json.loads((_HERE / f"{name}.json").read_text(encoding="utf-8")), f"preset {name}")
