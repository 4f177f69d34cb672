"""Several datasets at once: what they must have in common, and looking through all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LTX2Error
from ..protocols import Reporter
from .scan import DatasetIndex, scan
from .spec import DatasetSpec


@dataclass(frozen=True)
class Collection:
    """Scanned datasets, each with a name of its own, and sentences about them together."""

    indexes: tuple[DatasetIndex, ...]
    messages: tuple[str, ...]


def shares_of(specs: Sequence[DatasetSpec]) -> tuple[float, ...] | None:
    """The ``probability`` of each; None where none has one, so that all come by their sizes and repeats.

    Raises:
        LTX2Error: some have a probability and some have none.
    """
    given = [spec.probability > 0 for spec in specs]
    if any(given) and not all(given):
        lacking = ", ".join(spec.name for spec, has in zip(specs, given, strict=True) if not has)
        raise LTX2Error(f"Some datasets have a probability and {lacking} has none; give one to all of them, or to none.")
    return tuple(spec.probability for spec in specs) if any(given) else None


def check_together(specs: Sequence[DatasetSpec]) -> tuple[str, ...]:
    """What a person should know of these datasets in one run.

    Raises:
        LTX2Error: none is given, two have one name, or only some have a probability.
    """
    if not specs:
        raise LTX2Error("No dataset is enabled; add one, or switch disabled off.")
    names: set[str] = set()
    for spec in specs:
        if spec.name in names:
            raise LTX2Error(f"Two datasets are called {spec.name}; give each an id of its own.")
        names.add(spec.name)
    shares_of(specs)
    rates = sorted({spec.frame_rate for spec in specs})
    return (f"The datasets have different frame rates ({', '.join(f'{r:g}' for r in rates)}); motion is learned at each.",) if len(rates) > 1 else ()


def scan_all(specs: Sequence[DatasetSpec], reporter: Reporter | None = None, memory: Path | None = None) -> Collection:
    """Scan every dataset that is not disabled; ``memory`` as :func:`scan`'s.

    Raises:
        LTX2Error: as :func:`check_together`, or one has no usable clip (of several, the message names it).
    """
    enabled = [spec for spec in specs if not spec.disabled]
    messages, indexes = check_together(enabled), []
    for spec in enabled:
        try:
            indexes.append(scan(spec, reporter, memory))
        except LTX2Error as error:
            raise LTX2Error(f"Dataset {spec.name}: {error}" if len(enabled) > 1 else str(error)) from error
    return Collection(tuple(indexes), messages)
