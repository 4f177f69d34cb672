"""Which parts of a long clip become samples: pure functions of lengths in frames."""

from __future__ import annotations

from random import Random


def window_starts(mode: str, available: int, length: int, count: int, draw: Random) -> tuple[int, ...]:
    """First frames of the windows of ``length`` frames in ``available`` >= ``length`` frames.

    Args:
        mode: ``first``, ``last``, ``random`` (``count`` different ones, in order) or ``all`` (one after another; what
            is left behind the last is not used).
    """
    room = available - length
    if mode == "first":
        return (0,)
    if mode == "last":
        return (room,)
    if mode == "random":
        return tuple(sorted(draw.sample(range(room + 1), min(count, room + 1))))
    return tuple(range(0, room + 1, length))


def segments(duration: float, cuts: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    """(begin, end) in seconds between the cuts."""
    edges = [0.0, *(c for c in sorted(cuts) if 0 < c < duration), duration]
    return tuple(zip(edges[:-1], edges[1:], strict=True))
