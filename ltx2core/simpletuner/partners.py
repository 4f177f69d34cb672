"""Datasets that belong to others: sounds and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import LTX2Error
from .datasets import Imported


def with_sound(datasets: Sequence[Imported]) -> tuple[Imported, ...]:
    """Datasets whose sound comes from another one get its folder; that one is no longer trained alone.

    Raises:
        LTX2Error: a name that no dataset has, or that two have.
    """
    by_name = {d.name: d for d in datasets}
    twice = next((d.name for d in datasets if by_name[d.name] is not d), None)
    if twice is not None:
        raise LTX2Error(f"Two datasets have the id {twice!r}; give each an id of its own.")
    lent: set[str] = set()
    result = []
    for dataset in datasets:
        for name in dataset.sound_from:
            if name not in by_name:
                raise LTX2Error(f"dataset {dataset.name} takes its sound from {name!r}, which is no dataset of the file; correct s2v_datasets.")
        if dataset.sound_from:
            lent.update(dataset.sound_from)
            dataset = replace(dataset, spec={**dataset.spec, "audio": True, "sound_folder": by_name[dataset.sound_from[0]].spec["folder"]})
        result.append(dataset)
    return tuple(replace(d, role="sound") if d.name in lent else d for d in result)


def with_masks(datasets: Sequence[Imported]) -> tuple[Imported, ...]:
    """Datasets that masks belong to get their folder: named by one of the two, or the only one that is trained.

    Raises:
        LTX2Error: a dataset has several masks, or masks belong to none.
    """
    masks, trained = [d for d in datasets if d.role == "mask"], [d.name for d in datasets if d.role == "train"]
    result, used = [], set()
    for dataset in datasets:
        own = [m for m in masks if m.name in dataset.reference or m.source == dataset.name or (not m.source and trained == [dataset.name])]
        if len(own) > 1:
            raise LTX2Error(f"dataset {dataset.name} has masks of {' and '.join(m.name for m in own)}; keep one.")
        for mask in own:
            used.add(mask.name)
            dataset = replace(dataset, spec={**dataset.spec, "mask_folder": mask.spec["folder"], "mask_type": mask.mask_type})
        result.append(dataset)
    for mask in masks:
        if mask.name not in used:
            raise LTX2Error(f"The masks of dataset {mask.name} belong to no dataset of the file; name it in the conditioning_data of its clips' dataset.")
    return tuple(result)
