"""Datasets that belong to others: sounds and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import LTX2Error
from .datasets import Imported


def with_sound(datasets: Sequence[Imported]) -> tuple[Imported, ...]:
    """Datasets whose sound comes from another one get its folder; that one is no longer trained alone.

    Raises:
        LTX2Error: a name that no dataset has, or that two have; or all that give the sound are switched off.
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
        giving = _switched_on(dataset, "s2v_datasets", dataset.sound_from, by_name)
        if giving:
            lent.update(giving)
            dataset = replace(dataset, spec={**dataset.spec, "audio": True, "sound_folder": by_name[giving[0]].spec["folder"]})
        result.append(dataset)
    return tuple(replace(d, role="sound") if d.name in lent else d for d in result)


def _switched_on(dataset: Imported, key: str, named: Sequence[str], by_name: Mapping[str, Imported]) -> tuple[str, ...]:
    """Those of ``named``, under ``key`` of ``dataset``, that are there to be used; none for a dataset that is off itself.

    Raises:
        LTX2Error: all are switched off.
    """
    off = [name for name in named if name in by_name and by_name[name].role == "off"]
    if dataset.role == "off":
        return ()
    if off and len(off) == len(named):
        raise LTX2Error(f"dataset {dataset.name} names {' and '.join(off)} in {key}, which is switched off; set its disabled to false, or take the name out of {key}.")
    return tuple(name for name in named if name not in off)


def with_masks(datasets: Sequence[Imported]) -> tuple[Imported, ...]:
    """Datasets that masks belong to get their folder: named by one of the two, or the only one that is trained.

    Raises:
        LTX2Error: a dataset has several masks, masks belong to none, or what a dataset is conditioned on is switched off.
    """
    masks, trained = [d for d in datasets if d.role == "mask"], [d.name for d in datasets if d.role == "train"]
    result, used = [], set()
    for dataset in datasets:
        _switched_on(dataset, "conditioning_data", dataset.reference, {d.name: d for d in datasets})
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
