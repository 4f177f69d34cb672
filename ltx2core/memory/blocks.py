"""One function for all blocks of the transformer that are alike, so that it is compiled once; and its recomputed form for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
import torch._functorch.config as partitioning
from torch import Tensor, nn
from torch.func import functional_call

from ..models.forward import BlockInputs
from .linears import for_gradients
from .quantize import dequantised, is_quantised, own_names, under_own_names
from .stores import Tensors, WeightStore

_MOST_FORMS = 256

BlockCall = Callable[..., tuple[Tensor, Tensor]]


class BlockProgram:
    """Runs any block of the structure of ``block`` on given weights: one block's code serves for all of them."""

    def __init__(self, block: nn.Module, compiled: bool):
        # Not a submodule of anything: only its code is used, its parameters are replaced at every call.
        self._block, self._names = block, own_names(block)
        if compiled:
            # One code object serves every bucket, precision and gradient mode; the default limit of 8 forms ends in eager.
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_FORMS)
        self._call: BlockCall = torch.compile(self._run, dynamic=False) if compiled else self._run

    def _run(self, frozen: Tensors, adapter: Tensors, hidden: Tensor, audio_hidden: Tensor, fields: dict) -> tuple[Tensor, Tensor]:
        weights = {**dequantised(frozen, hidden.dtype), **adapter}
        return functional_call(self._block, weights, (), {"hidden_states": hidden, "audio_hidden_states": audio_hidden, **BlockInputs(**fields).arguments()})

    def __call__(self, frozen: Tensors, adapter: Tensors, hidden: Tensor, audio_hidden: Tensor, inputs: BlockInputs) -> tuple[Tensor, Tensor]:
        # Else a compiled block keeps its weights in full precision from forward to backward.
        small = partitioning.patch(ban_recompute_materialized_backward=False) if is_quantised(frozen) else nullcontext()
        with small:
            return self._call(under_own_names(frozen, self._names), adapter, hidden, audio_hidden, vars(inputs))


@dataclass(frozen=True)
class Programs:
    """``run``: results and, where asked, gradients. ``again``: the run in backward, of which only gradients are read."""

    run: BlockProgram
    again: BlockProgram

    @classmethod
    def of(cls, block: nn.Module, compiled: bool) -> Programs:
        return cls(BlockProgram(block, compiled), BlockProgram(for_gradients(block), compiled))

    @classmethod
    def of_all(cls, blocks: Sequence[nn.Module], compiled: bool) -> list[Programs]:
        """For each block; blocks whose adapters are on the same layers share theirs."""
        structures = [tuple(name for name, _ in block.named_parameters()) for block in blocks]
        made = {names: cls.of(block, compiled) for names, block in dict(zip(structures, blocks, strict=True)).items()}
        return [made[names] for names in structures]


def _learned(inputs: BlockInputs) -> dict[str, Tensor]:
    """Those that adapters before the blocks had a part in, and want gradients of."""
    return {name: value for name, value in vars(inputs).items() if isinstance(value, Tensor) and value.requires_grad}


@dataclass(frozen=True)
class _Place:
    """What the recomputed form of one block needs in backward. names: of the adapter's trained tensors; learned: fields of
    ``inputs`` that want gradients. Both are given in this order. fixed: the adapter's other tensors, which want none.
    """

    programs: Programs
    store: WeightStore
    index: int
    names: tuple[str, ...]
    fixed: Tensors
    learned: tuple[str, ...]
    inputs: BlockInputs
    ahead: Sequence[int]
    behind: Sequence[int]

    @property
    def again(self) -> BlockProgram:
        """Gates are among what is learned, and theirs alone read the results that ``Programs.again`` leaves out."""
        return self.programs.run if self.learned else self.programs.again

    def run(self, program: BlockProgram, following: Sequence[int], hidden: Tensor, audio_hidden: Tensor, given: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        frozen, count = self.store.acquire(self.index, following), len(self.names)
        inputs = replace(self.inputs, **dict(zip(self.learned, given[count:], strict=True)))
        return program(frozen, {**self.fixed, **dict(zip(self.names, given[:count], strict=True))}, hidden, audio_hidden, inputs)


class _Recomputed(torch.autograd.Function):
    """Keeps a block's inputs only; backward runs the block again, with its weights brought back for just that time.

    torch's own checkpoint would hold the streamed weights in the graph that it rebuilds.
    """

    @staticmethod
    def forward(ctx, place: _Place, hidden: Tensor, audio_hidden: Tensor, *given: Tensor):
        ctx.place = place
        ctx.save_for_backward(hidden, audio_hidden, *given)
        with torch.no_grad():
            out = place.run(place.programs.run, place.ahead, hidden, audio_hidden, given)
        place.store.release(place.index)
        return out

    @staticmethod
    def backward(ctx, *towards: Tensor):
        place = ctx.place
        hidden, audio_hidden, *given = (t.detach().requires_grad_() for t in ctx.saved_tensors)
        with torch.enable_grad():
            out = place.run(place.again, place.behind, hidden, audio_hidden, given)
        pairs = [(o, t) for o, t in zip(out, towards, strict=True) if t is not None]
        gradients = torch.autograd.grad([o for o, _ in pairs], (hidden, audio_hidden, *given), [t for _, t in pairs], allow_unused=True)
        place.store.release(place.index)
        return None, *gradients


class BlockRunnerFor:
    """A ``runner`` for ``models.forward.denoise``: blocks from a store, ``kept`` of them without recompute.

    ``programs`` and ``adapters`` are by block. The last blocks are the kept ones: their activations live shortest.
    """

    def __init__(self, programs: Sequence[Programs], store: WeightStore, adapters: Sequence[Tensors], kept: int = 0):
        self._programs, self._store, self._adapters, self._kept = programs, store, adapters, kept
        self._count = len(adapters)

    def __call__(self, index: int, block: nn.Module, hidden: Tensor, audio_hidden: Tensor, inputs: BlockInputs) -> tuple[Tensor, Tensor]:
        adapter = self._adapters[index]
        ahead = range(index + 1, self._count)
        if torch.is_grad_enabled() and index < self._count - self._kept:
            behind, learned = range(index - 1, -1, -1), _learned(inputs)
            trained, fixed = ({n: t for n, t in adapter.items() if t.requires_grad is wanted} for wanted in (True, False))
            # After the last block backward begins with it again, and after the first the next step's forward.
            place = _Place(
                self._programs[index], self._store, index, tuple(trained), fixed, tuple(learned), inputs,
                ahead or range(index - 1, -1, -1), behind or range(1, self._count),
            )  # fmt: skip
            # The first block's inputs may need no gradient; autograd must still see that the adapter does.
            return _Recomputed.apply(place, hidden, audio_hidden, *trained.values(), *learned.values())
        if index == 0 and torch.is_grad_enabled():
            # As in every later block, so that one compiled form serves all.
            hidden, audio_hidden = (t if t.requires_grad else t.detach().requires_grad_() for t in (hidden, audio_hidden))
        frozen = self._store.acquire(index, ahead)
        out = self._programs[index].run(frozen, adapter, hidden, audio_hidden, inputs)
        self._store.release(index)
        return out
