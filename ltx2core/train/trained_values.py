"""How many values an adapter trains, from the shapes of the layers that it changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ..errors import LTX2Error
from .settings import LoRASettings


def _split(size: int, factor: int) -> tuple[int, int]:
    """(small, large) with small * large = size, as lycoris-lora splits a side: by ``factor`` where it divides ``size``, else
    as evenly as a small part of at most ``factor`` allows (-1: of any size).
    """
    if factor > 0 and size % factor == 0:
        return min(factor, size // factor), max(factor, size // factor)
    most = math.isqrt(size) if factor < 0 else min(factor, math.isqrt(size))
    small = next(n for n in range(most, 0, -1) if size % n == 0)
    return small, size // small


def _lokr(settings: LoRASettings, outputs: int, inputs: int) -> int:
    (small_out, large_out), (small_in, large_in) = _split(outputs, settings.factor), _split(inputs, settings.factor)
    halved = settings.rank * (large_out + large_in) if 2 * settings.rank < max(large_out, large_in) else large_out * large_in
    return small_out * small_in + halved


def _of_layer(settings: LoRASettings, outputs: int, inputs: int) -> int:
    if settings.kind == "lokr":
        return _lokr(settings, outputs, inputs)
    pair = settings.rank * (outputs + inputs)
    return {"lora": pair, "dora": pair + outputs, "loha": 2 * pair}[settings.kind]


def trained_values(settings: LoRASettings, shapes: Mapping[str, tuple[int, ...]], modules: Iterable[str]) -> int:
    """Of an adapter on ``modules``; ``shapes``: parameter's name -> shape of a model without it.

    Raises:
        LTX2Error: one of ``modules`` is not in the model.
    """
    count = 0
    for module in modules:
        shape = shapes.get(f"{module}.weight")
        if shape is None:
            raise LTX2Error(f"The model has no linear layer {module}; choose targets of this model.")
        count += _of_layer(settings, *shape)
    return count
