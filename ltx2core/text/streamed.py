"""A text encoder whose layers wait in host memory and are copied to the device ahead of use: for cards that do not hold it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..memory.stores import RingStore
from ..protocols import Residency
from .encoder import TextEncoder

_SLOTS = 3  # layers on the device: one runs, two are on their way
_WORK = 2 * 2**30  # all layers' states of 1024 tokens, twice


def _taken(layer: nn.Module) -> dict[str, Tensor]:
    """The layer's weights, which it has no longer."""
    found = {name: parameter.data for name, parameter in layer.named_parameters()}
    _empty(layer)
    return found


def _empty(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        parameter.data = parameter.data.new_empty(0)


def needs_streaming(encoder: TextEncoder, residency: Residency) -> bool:
    """Whether a card has no room for the whole encoder and its work."""
    if residency.device.type != "cuda":
        return False
    return residency.room().most < sum(p.nbytes for p in encoder.parameters()) + _WORK


@contextmanager
def streamed_layers(encoder: TextEncoder, device: torch.device) -> Iterator[None]:
    """Inside, ``encoder`` runs with its layers' weights brought one by one; only the rest of it must be on ``device``.

    It is used up: at all other times, and afterwards, its layers are empty.
    """
    layers = list(encoder.model.layers)
    with torch.inference_mode(False), torch.no_grad():
        store = RingStore((_taken(layer) for layer in layers), device, _SLOTS)

    def bring(index: int, layer: nn.Module) -> None:
        # After the last layer comes the first, of the next prompts.
        tensors = store.acquire(index, [*range(index + 1, len(layers)), *range(index)])
        for name, parameter in layer.named_parameters():
            parameter.data = tensors[name]

    def leave(index: int, layer: nn.Module) -> None:
        store.release(index)
        _empty(layer)

    handles = []
    for index, layer in enumerate(layers):
        handles.append(layer.register_forward_pre_hook(lambda module, _, index=index: bring(index, module)))
        handles.append(layer.register_forward_hook(lambda module, _, __, index=index: leave(index, module)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
