"""Whole adapters merged into one, or brought to another rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import LTX2Error
from .adapter import FOLDED_ALPHA, Adapter
from .adapter_info import reference_factors
from .adapter_layers import Layer, LoRALayer
from .adapter_svd import Reduced, factors, reduced, side_by_side

_OF_THE_RANK = ("lora_rank", FOLDED_ALPHA, "adapter_kind")  # metadata that no longer hold at another rank


@dataclass(frozen=True)
class Energy:
    """What a lower rank keeps of the squared size of all changes, 0..1, and of the layer that loses most."""

    kept: float
    least: float
    least_layer: str

    def __str__(self) -> str:
        return f"{self.kept:.2%} of the energy is kept, least at {self.least_layer}: {self.least:.2%}"


@dataclass(frozen=True)
class Made:
    """energy is None where nothing was lost."""

    adapter: Adapter
    energy: Energy | None = None


def check_strength(name: str, strength: float) -> float:
    """Raises LTX2Error for NaN and infinity."""
    if not math.isfinite(strength):
        raise LTX2Error(f"The strength of the adapter {name} is {strength}; give a number such as 1.")
    return float(strength)


def _check_size(rank: int | None, keep: float | None) -> None:
    if (rank is None) == (keep is None):
        raise LTX2Error("Give either a rank or the part of the energy to keep.")
    if rank is not None and rank < 1:
        raise LTX2Error(f"The rank {rank} is too small; give at least 1.")
    if keep is not None and not 0 < keep <= 1:
        raise LTX2Error(f"The part of the energy to keep is {keep:g}; give a number above 0 and up to 1, such as 0.95.")


def _energy(parts: Mapping[str, Reduced]) -> Energy:
    share = {name: part.kept / part.total if part.total else 1.0 for name, part in parts.items()}
    least = min(share, key=share.get)
    total = sum(part.total for part in parts.values())
    return Energy(sum(part.kept for part in parts.values()) / total if total else 1.0, share[least], least)


def _lowered(name: str, layers: Mapping[str, LoRALayer], like: Adapter, rank: int | None, keep: float | None) -> Made:
    parts = {module: reduced(layer, rank, keep) for module, layer in layers.items()}
    metadata = {k: v for k, v in like.metadata.items() if k not in _OF_THE_RANK}
    return Made(Adapter(name, {m: p.layer for m, p in parts.items()}, like.family, metadata), _energy(parts))


def resize(adapter: Adapter, rank: int | None = None, keep: float | None = None) -> Made:
    """A LoRA of ``rank`` at most, or of each layer's smallest rank that keeps ``keep`` of its energy.

    Raises:
        LTX2Error: both or neither given, out of range, or a DoRA.
    """
    _check_size(rank, keep)
    return _lowered(adapter.name, {m: factors(layer) for m, layer in adapter.layers.items()}, adapter, rank, keep)


def _common(adapters: Sequence[Adapter]) -> Adapter:
    """An empty adapter with the family and reference factors that all share.

    Raises:
        LTX2Error: they differ.
    """
    families = {a.family: a.name for a in adapters if a.family}
    if len(families) > 1:
        raise LTX2Error(f"The adapters are for different models ({', '.join(f'{n}: LTX-2 {f}' for f, n in families.items())}); merge adapters of one.")
    factors_found = {reference_factors(a.metadata): a for a in adapters if reference_factors(a.metadata)}
    if len(factors_found) > 1:
        raise LTX2Error(f"The adapters take reference videos of different scales ({', '.join(a.name for a in factors_found.values())}); they can't be merged.")
    metadata = {k: v for a in factors_found.values() for k, v in a.metadata.items() if k.startswith(("reference_", "ss_reference_"))}
    return Adapter("", {}, next(iter(families), None), metadata)


def _check_fit(module: str, pairs: Sequence[tuple[Adapter, Layer]]) -> None:
    shapes = {layer.shape: adapter.name for adapter, layer in pairs}
    if len(shapes) > 1:
        raise LTX2Error(f"The adapters change layers {module} of different sizes ({', '.join(f'{n}: {s}' for s, n in shapes.items())}); merge adapters of one model.")


def merge(adapters: Sequence[tuple[Adapter, float]], name: str, rank: int | None = None) -> Made:
    """One adapter whose change is the sum of ``strength`` times each one's change.

    Without ``rank`` it is exact: the ranks of a layer add up. With it each layer is brought to ``rank`` by SVD.

    Raises:
        LTX2Error: none given, different families, sizes or reference scales, a DoRA, or kinds whose sum has no exact factors.
    """
    if not adapters:
        raise LTX2Error("Give at least one adapter to merge.")
    like = _common([a for a, _ in adapters])
    grouped: dict[str, list[tuple[Adapter, Layer, float]]] = {}
    for adapter, strength in adapters:
        check_strength(adapter.name, strength)
        for module, layer in adapter.layers.items():
            grouped.setdefault(module, []).append((adapter, layer, strength))
            if rank is None and not isinstance(layer, LoRALayer):
                raise LTX2Error(f"{adapter.name} is no plain LoRA, so ranks can't be put side by side; give a rank.")
    layers = {}
    for module, parts in grouped.items():
        _check_fit(module, [(a, layer) for a, layer, _ in parts])
        layers[module] = side_by_side([factors(layer, strength) for _, layer, strength in parts])
    if rank is None:
        return Made(Adapter(name, layers, like.family, like.metadata))
    _check_size(rank, None)
    return _lowered(name, layers, like, rank, None)
