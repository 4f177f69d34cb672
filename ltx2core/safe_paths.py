"""Which folders a graph may write to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .errors import LTX2Error


def inside(name: str, base: Path, roots: Sequence[Path]) -> Path:
    """The folder ``name``, taken from ``base`` when it is relative, if it lies in one of ``roots`` once links are followed.

    A graph may come from anyone, so that a path in it must not lead to the person's other files.

    Raises:
        LTX2Error: it leads out of all of them; they are named.
    """
    path = base / Path(name.strip()).expanduser()
    try:
        found = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a zero byte, a name that is too long
        raise LTX2Error(f"The folder {name!r} cannot be used ({error}); choose another.") from error
    if not any(found.is_relative_to(root.resolve()) for root in roots):
        raise LTX2Error(f"The folder {name} is outside of what a graph may write to; choose one inside {' or '.join(str(r) for r in roots[:2])}.")
    return found
