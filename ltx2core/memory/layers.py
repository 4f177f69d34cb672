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


class WaitingLayers:
    """``layers``, alike and run in order: their weights wait in host memory, and the modules are empty but while they run."""

    def __init__(self, layers: Sequence[nn.Module], device: torch.device):
        self.layers, self.buffers = list(layers), SLOTS * sum(p.nbytes for p in layers[0].parameters())
        with torch.inference_mode(False), torch.no_grad():
            self._store = RingStore((_taken(layer) for layer in self.layers), device, SLOTS)

    def _bring(self, index: int, layer: nn.Module) -> None:
        # After the last layer comes the first, of the next prompts.
        tensors = self._store.acquire(index, [*range(index + 1, len(self.layers)), *range(index)])
        for name, parameter in layer.named_parameters():
            parameter.data = tensors[name]

    def _leave(self, index: int, layer: nn.Module) -> None:
        self._store.release(index)
        _empty(layer)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, each layer has its weights as it is called. May be entered again."""
        handles = []
        for index, layer in enumerate(self.layers):
            handles.append(layer.register_forward_pre_hook(lambda module, _, index=index: self._bring(index, module)))
            handles.append(layer.register_forward_hook(lambda module, _, __, index=index: self._leave(index, module)))
        # What a run before this one left half done is no longer known.
        self._store.forget()
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for layer in self.layers:
                _empty(layer)


@contextmanager
def streamed_layers(layers: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Inside, ``layers`` have their weights brought one by one as they are called. They are used up: afterwards they are empty."""
    with WaitingLayers(layers, device).running():
        yield
