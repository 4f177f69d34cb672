"""Blocks whose weights lie elsewhere, called as if they held them: for sampling with a quantised or streamed base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, dtype, nn
from torch.func import functional_call

# (index of a block, type of its inputs) -> a context with all its weights by name, the adapter's too.
WeightsOf = Callable[[int, dtype], Mapping[str, Tensor]]


class LiveBlock(nn.Module):
    """Stands in for a block. ``attn1`` and ``audio_attn1`` are the block's own, whose processors guidance exchanges."""

    def __init__(self, index: int, block: nn.Module, weights: WeightsOf, done: Callable[[int], None]):
        super().__init__()
        self.attn1, self.audio_attn1 = block.attn1, block.audio_attn1
        self._parts = (index, weights, done)
        self.__dict__["_block"] = block  # not a submodule: its parameters are not this one's

    def forward(self, **arguments: Tensor) -> tuple[Tensor, Tensor]:
        index, weights, done = self._parts
        out = functional_call(self.__dict__["_block"], dict(weights(index, arguments["hidden_states"].dtype)), (), arguments)
        done(index)
        return out


@contextmanager
def live_blocks(model: nn.Module, blocks: Sequence[nn.Module], weights: WeightsOf, done: Callable[[int], None]) -> Iterator[None]:
    """``model.transformer_blocks`` as :class:`LiveBlock` inside the block.

    Args:
        done: told when a block's weights are no longer needed.
    """
    own = model.transformer_blocks
    model.transformer_blocks = nn.ModuleList(LiveBlock(i, b, weights, done) for i, b in enumerate(blocks))
    try:
        yield
    finally:
        model.transformer_blocks = own
