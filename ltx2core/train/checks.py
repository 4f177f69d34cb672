"""One clear sentence for a setting with a bad value."""

from __future__ import annotations

import math

from ..errors import LTX2Error


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise LTX2Error(f"{name} is {value!r}; choose one of {', '.join(allowed)}.")


def check_range(name: str, value: float, low: float, high: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or not low <= value <= high:
        limits = f"between {low:g} and {high:g}" if high < math.inf else f"of at least {low:g}"
        raise LTX2Error(f"{name} is {value!r}; give a number {limits}.")


def check_whole(name: str, value: int, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise LTX2Error(f"{name} is {value!r}; give a whole number of at least {low}.")
