"""TREAD: a random part of the video tokens skips a range of blocks (Krause et al. 2025).

At a route's first block some tokens are taken aside, with their own timesteps' modulation and their own positions for
those that go on; behind its last block they come back as they were. Sound, text and reference videos go through whole. In
training alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from ..models.forward import BlockInputs, BlockRunner
from .checks import check_range
from .randomness import generator


@dataclass(frozen=True)
class TreadRoute:
    """``selection_ratio`` of the tokens skip the blocks ``start_layer_idx`` to ``end_layer_idx``, both inclusive; negative ones count from the end."""

    selection_ratio: float = 0.5
    start_layer_idx: int = 2
    end_layer_idx: int = -2

    def __post_init__(self) -> None:
        check_range("selection_ratio", self.selection_ratio, 0.01, 0.99)

    def resolved(self, layers: int) -> tuple[int, int]:
        """Both ends, counted from 0. Raises LTX2Error when they don't lie in a model of ``layers`` blocks."""
        start, end = (i + layers if i < 0 else i for i in (self.start_layer_idx, self.end_layer_idx))
        if not 0 <= start <= end < layers:
            raise LTX2Error(f"The route from block {self.start_layer_idx} to {self.end_layer_idx} does not lie in a model of {layers} blocks; correct it.")
        return start, end


def resolve_routes(routes: Sequence[TreadRoute], layers: int) -> tuple[tuple[int, int], ...]:
    """Raises LTX2Error when routes overlap, are out of order, or out of the model."""
    found = tuple(r.resolved(layers) for r in routes)
    for (_, before), (after, _) in zip(found, found[1:], strict=False):
        if after <= before:
            raise LTX2Error(f"The route that begins at block {after} overlaps the one that ends at {before}; give routes in order, each behind the other.")
    return found


# Of the share of tokens that go on, what those that are made have at least where most of a clip is given.
_LEAST_MADE = 0.5


def kept_tokens(route: TreadRoute, tokens: int, given: Tensor | None, seed: int, *purpose: int | str) -> Tensor:
    """int64 [tokens - round(tokens * ratio)], sorted: a random choice that prefers ``given`` [tokens] bool.

    Conditioning tokens go on where there is room, since the others need them; the others, which alone are learned, go on too,
    at least half as often as without.
    """
    count = max(1, tokens - round(tokens * route.selection_ratio))
    score = torch.rand(tokens, generator=generator(seed, "tread", *purpose))
    if given is not None:
        made = (~given).nonzero().flatten()
        least = min(count, math.ceil(len(made) * (1 - route.selection_ratio) * _LEAST_MADE))
        score = score - given.float()
        score[made[score[made].argsort()[:least]]] -= 2
    return score.argsort()[:count].sort().values


def _tokens_of(tensor: Tensor, ids: Tensor, tokens: int, axis: int) -> Tensor:
    """Rows ``ids`` [B, K] of the token axis; a tensor that has one value for all tokens stays."""
    axis %= tensor.ndim
    if tensor.shape[axis] != tokens or tokens == 1:
        return tensor
    shape = [1] * tensor.ndim
    shape[0], shape[axis] = ids.shape
    expanded = [*tensor.shape]
    expanded[axis] = ids.shape[1]
    return tensor.gather(axis, ids.view(shape).expand(expanded))


# The fields of a block's inputs that belong to video tokens: axis of the tokens.
_PER_TOKEN = {"video_noisy": 1, "temb": 1, "temb_ca_scale_shift": 1, "temb_ca_gate": 1, "video_rotary_emb": -2, "ca_video_rotary_emb": -2}


def route_inputs(inputs: BlockInputs, ids: Tensor, tokens: int) -> BlockInputs:
    """``inputs`` for the tokens ``ids`` [B, K] of ``tokens`` alone."""
    changes = {}
    for name in (f.name for f in fields(inputs) if f.name in _PER_TOKEN):
        value, axis = getattr(inputs, name), _PER_TOKEN[name]
        if value is None or (inputs.video_noisy is not None and name.startswith("temb")):
            continue  # absent, or of two timesteps a sample and not of tokens
        changes[name] = tuple(_tokens_of(v, ids, tokens, axis) for v in value) if isinstance(value, tuple) else _tokens_of(value, ids, tokens, axis)
    return replace(inputs, **changes)


class TreadRunner:
    """Routes around ``run`` for one forward pass.

    Args:
        spans: first and last block of each route, resolved.
        kept: [B, K] token numbers of each route.
    """

    def __init__(self, run: BlockRunner, spans: Sequence[tuple[int, int]], kept: Sequence[Tensor]):
        self._run = run
        self._starts = {start: (end, ids) for (start, end), ids in zip(spans, kept, strict=True)}
        self._end: int | None = None

    def __call__(self, index: int, block: nn.Module, hidden: Tensor, audio_hidden: Tensor, inputs: BlockInputs) -> tuple[Tensor, Tensor]:
        if index in self._starts:
            self._end, self._ids = self._starts[index]
            self._whole, self._inputs = hidden, route_inputs(inputs, self._ids, hidden.shape[1])
            hidden = hidden.gather(1, self._ids[..., None].expand(-1, -1, hidden.shape[-1]))
        if self._end is None:
            return self._run(index, block, hidden, audio_hidden, inputs)
        hidden, audio_hidden = self._run(index, block, hidden, audio_hidden, self._inputs)
        if index == self._end:
            hidden = self._whole.scatter(1, self._ids[..., None].expand(-1, -1, hidden.shape[-1]), hidden)
            self._end = None
        return hidden, audio_hidden
