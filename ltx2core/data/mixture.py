"""Several datasets at once: which one a batch comes from."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LTX2Error
from ..protocols import Reporter
from .scan import DatasetIndex, scan
from .seeds import drawer
from .spec import DatasetSpec


@dataclass(frozen=True)
class Collection:
    """Scanned datasets, each with a name of its own, and how often each gives a batch (the shares sum to 1)."""

    indexes: tuple[DatasetIndex, ...]
    shares: tuple[float, ...]
    messages: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(index.spec.name for index in self.indexes)


def shares_of(specs: Sequence[DatasetSpec], samples: Sequence[int]) -> tuple[float, ...]:
    """How often each dataset gives a batch: by its ``probability``, or, where none has one, by its samples and repeats.

    Raises:
        LTX2Error: some have a probability and some have none.
    """
    given = [spec.probability > 0 for spec in specs]
    if any(given) and not all(given):
        lacking = ", ".join(spec.name for spec, has in zip(specs, given, strict=True) if not has)
        raise LTX2Error(f"Some datasets have a probability and {lacking} has none; give one to all of them, or to none.")
    weights = [spec.probability or count * (spec.repeats + 1) for spec, count in zip(specs, samples, strict=True)]
    return tuple(weight / sum(weights) for weight in weights)


def draw_dataset(shares: Sequence[float], seed: int, step: int) -> int:
    """The position of the dataset that gives the batch of ``step``.

    It follows from the arguments alone, so that a resumed run draws the same.
    """
    return drawer(seed, "dataset", step).choices(range(len(shares)), shares)[0]


def _check_names(specs: Sequence[DatasetSpec]) -> None:
    names: set[str] = set()
    for spec in specs:
        if spec.name in names:
            raise LTX2Error(f"Two datasets are called {spec.name}; give each an id of its own.")
        names.add(spec.name)


def _differences(specs: Sequence[DatasetSpec]) -> list[str]:
    rates = sorted({spec.frame_rate for spec in specs})
    return [f"The datasets have different frame rates ({', '.join(f'{r:g}' for r in rates)}); motion is learned at each."] if len(rates) > 1 else []


def scan_all(specs: Sequence[DatasetSpec], reporter: Reporter | None = None, memory: Path | None = None) -> Collection:
    """Scan every dataset that is not disabled.

    Raises:
        LTX2Error: none is enabled, two have one name, or one has no usable clip (the message names it).
    """
    enabled = [spec for spec in specs if not spec.disabled]
    if not enabled:
        raise LTX2Error("No dataset is enabled; add one, or switch disabled off." if specs else "No dataset is given; add one.")
    _check_names(enabled)
    indexes = []
    for spec in enabled:
        try:
            indexes.append(scan(spec, reporter, memory))
        except LTX2Error as error:
            raise LTX2Error(f"Dataset {spec.name}: {error}") from error
    shares = shares_of(enabled, [len(index.clips) for index in indexes])
    messages = [*_differences(enabled), *(f"{index.spec.name}: {message}" for index in indexes for message in index.messages)]
    return Collection(tuple(indexes), shares, tuple(messages))


def sound_folder_of(name: str, specs: Sequence[DatasetSpec]) -> str:
    """The folder of the audio dataset ``name``, for ``sound_folder`` of a dataset that names its partner by id.

    Raises:
        LTX2Error: no such dataset, or it is no audio dataset.
    """
    found = next((spec for spec in specs if spec.name == name), None)
    if found is None:
        near = difflib.get_close_matches(name, [spec.name for spec in specs], n=1)
        raise LTX2Error(f"No dataset is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else "; give the id of an audio dataset."))
    if found.dataset_type != "audio":
        raise LTX2Error(f"Dataset {name} is of type {found.dataset_type}; s2v needs one of type audio.")
    return found.folder
