"""Written-out blocks as a ``runner`` of ``models.forward.denoise``, under autograd between the blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..memory.stores import WeightStore
from ..models.forward import BlockInputs
from .block import FusedBlock
from .groups import Adapters, GroupLayout
from .lanes import Lanes
from .modulation import Shared
from .shelf import Shelf
from .side import Stored
from .weights import BlockWeights


@dataclass(frozen=True)
class FusedModel:
    """All blocks of one model: their code, their weights' store and their adapters."""

    block: FusedBlock
    store: WeightStore
    layouts: Mapping[str, GroupLayout]
    adapters: Sequence[Adapters]
    resident: bool

    @classmethod
    def of(cls, block: nn.Module, store: WeightStore, layouts: Mapping[str, GroupLayout], adapters: Sequence[Adapters], resident: bool, device: torch.device) -> FusedModel:
        return cls(FusedBlock(block, Lanes(device)), store, layouts, adapters, resident)

    def weights(self, index: int, following: Sequence[int], dtype: torch.dtype) -> BlockWeights:
        weights = BlockWeights(self.store.acquire(index, following), self.layouts, self.adapters[index], dtype)
        if not self.resident:
            weights.refresh()
        return weights

    def resident_weights(self, index: int, dtype: torch.dtype) -> BlockWeights | None:
        """Of a block whose packed matrices stay, so that adapters must be filled in once a step; None for others."""
        if not self.resident or index >= len(self.adapters):
            return None
        return BlockWeights(self.store.acquire(index, ()), self.layouts, self.adapters[index], dtype)


@dataclass(frozen=True)
class _Place:
    model: FusedModel
    index: int
    shared: Shared
    ahead: Sequence[int]
    behind: Sequence[int]
    kept: bool
    shelf: Shelf | None


def _rows(tensor: Tensor) -> Tensor:
    return tensor.detach().flatten(0, 1)


def _to_shelf(h: Tensor, stored: Stored) -> dict[str, Tensor]:
    """The large ones; of the attention's results ``stored`` keeps the small ones."""
    tensors = {n: t for n, t in (("h", h), ("inner", stored.inner), ("text", stored.text), ("qkv", stored.qkv)) if t is not None}
    if stored.attention is not None:
        tensors["attention"] = stored.attention[0].transpose(1, 2)  # rows of tokens, as they lie in memory
        stored.attention = stored.attention[1:]
    return tensors


def _from_shelf(tensors: dict[str, Tensor], rest: tuple | None, wanted: frozenset[str]) -> tuple[Tensor, Stored]:
    attention = None if rest is None else (tensors["attention"].transpose(1, 2), *rest)
    return tensors["h"], Stored(wanted, attention, tensors.get("inner"), tensors.get("text"), tensors.get("qkv"))


class _Block(torch.autograd.Function):
    """Adapters' gradients are added to their ``.grad`` in backward, so autograd sees the two states alone."""

    @staticmethod
    def forward(ctx, place: _Place, hidden: Tensor, audio_hidden: Tensor):
        model = place.model
        weights = model.weights(place.index, place.ahead, hidden.dtype)
        beside = model.resident_weights(place.index + 1, hidden.dtype)
        h, a = _rows(hidden), _rows(audio_hidden)
        ctx.place, ctx.kept = place, None
        if place.kept:
            ctx.kept = model.block.again(weights, place.shared, h, a, beside)
            h, a = model.block.end(weights, place.shared, ctx.kept)
        elif place.shelf is not None:
            stored, before = Stored(place.shelf.wanted(place.index, hidden.shape[1])), h
            ctx.save_for_backward(audio_hidden)
            h, a = model.block.forward(weights, place.shared, h, a, beside, stored)
            place.shelf.put(place.index, _to_shelf(before, stored))
            ctx.rest = stored.attention
        else:
            ctx.save_for_backward(hidden, audio_hidden)
            h, a = model.block.forward(weights, place.shared, h, a, beside)
        model.store.release(place.index)
        return h.view(hidden.shape), a.view(audio_hidden.shape)

    @staticmethod
    def backward(ctx, g: Tensor, ga: Tensor):
        place = ctx.place
        model, shape, audio_shape = place.model, g.shape, ga.shape
        weights = model.weights(place.index, place.behind, g.dtype)
        kept, ctx.kept = ctx.kept, None
        if kept is None and place.shelf is not None:
            h, stored = _from_shelf(place.shelf.take(place.index), ctx.rest, place.shelf.wanted(place.index, shape[1]))
            kept = model.block.again(weights, place.shared, h, _rows(*ctx.saved_tensors), stored=stored)
        elif kept is None:
            kept = model.block.again(weights, place.shared, *(_rows(t) for t in ctx.saved_tensors))
        wanted = place.index > 0  # nothing before the first block learns
        g, ga = model.block.backward(weights, place.shared, kept, _rows(g.contiguous()), _rows(ga.contiguous()), wanted)
        model.store.release(place.index)
        return (None, g.view(shape), ga.view(audio_shape)) if wanted else (None, None, None)


class FusedRunner:
    """Runs blocks; ``kept`` of the last ones without recompute. One at a time may be in use, for one forward pass and its backward."""

    def __init__(self, model: FusedModel, kept: int = 0, shelf: Shelf | None = None):
        self._model, self._kept, self._shelf, self._count = model, kept, shelf, len(model.adapters)
        self._inputs: BlockInputs | None = None
        self._shared: Shared | None = None

    def _shared_of(self, inputs: BlockInputs, hidden: Tensor, audio_hidden: Tensor) -> Shared:
        if inputs is not self._inputs:
            self._inputs, self._shared = inputs, Shared.of(inputs, hidden.shape[1], audio_hidden.shape[1])
        return self._shared

    def __call__(self, index: int, block: nn.Module, hidden: Tensor, audio_hidden: Tensor, inputs: BlockInputs) -> tuple[Tensor, Tensor]:
        first = self._model.resident_weights(0, hidden.dtype) if index == 0 else None
        if first is not None:
            first.refresh()
        shared = self._shared_of(inputs, hidden, audio_hidden)
        ahead, behind = range(index + 1, self._count), range(index - 1, -1, -1)
        if not torch.is_grad_enabled():
            weights = self._model.weights(index, ahead, hidden.dtype)
            beside = self._model.resident_weights(index + 1, hidden.dtype)
            h, a = self._model.block.forward(weights, shared, _rows(hidden), _rows(audio_hidden), beside)
            self._model.store.release(index)
            return h.view(hidden.shape), a.view(audio_hidden.shape)
        # After the last block backward begins with it again, and after the first the next step's forward.
        kept = index >= self._count - self._kept
        place = _Place(self._model, index, shared, ahead or range(index - 1, -1, -1), behind or range(1, self._count), kept, None if kept else self._shelf)
        if index == 0:
            # The adapters are no inputs of the function, so it is the state that tells autograd to come back here.
            hidden, audio_hidden = hidden.detach().requires_grad_(), audio_hidden.detach().requires_grad_()
        return _Block.apply(place, hidden, audio_hidden)
