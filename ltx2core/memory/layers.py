"""Layers that wait in host memory and are copied to the device ahead of use: forward only, for cards that do not hold a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..protocols import Residency
from .stores import RingStore

SLOTS = 3  # layers on the device: one runs, two are on their way


def _taken(layer: nn.Module) -> dict[str, Tensor]:
    """The layer's weights, which it has no longer."""
    found = {name: parameter.data for name, parameter in layer.named_parameters()}
    _empty(layer)
    return found


def _empty(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        parameter.data = parameter.data.new_empty(0)


def needs_streaming(module: nn.Module, residency: Residency, working_bytes: int) -> bool:
    """Whether a card has no room for the whole of ``module`` and its work."""
    weights = list(module.parameters())
    if residency.device.type != "cuda" or weights[0].is_cuda:
        return False
    return residency.room().most < sum(p.nbytes for p in weights) + working_bytes


@contextmanager
def streamed_layers(layers: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Inside, ``layers``, alike and run in order, have their weights brought one by one as they are called.

    They are used up: at all other times, and afterwards, they are empty.
    """
    with torch.inference_mode(False), torch.no_grad():
        store = RingStore((_taken(layer) for layer in layers), device, SLOTS)

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
