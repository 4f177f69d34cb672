"""Fast steps of training: compiled blocks, quantised or streamed weights, and the whole step as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import LTX2Error
from ..fused.block import supported
from ..fused.groups import adapters_of, layouts_of
from ..fused.runner import FusedModel, FusedRunner
from ..fused.shelf import Shelf
from ..fused.weights import packed, unpack, unpacked, use_packed
from ..models.forward import BlockInputs, BlockRunner
from ..train.batch import StepInputs
from ..train.dropout import keys_of
from ..train.live_blocks import live_blocks
from ..train.objective import Objective
from ..train.step import StepLosses, training_step, velocities
from .blocks import BlockRunnerFor, Programs
from .quantize import FORMATS, LIBRARIES, dequantised, own_names, quantise_block, under_own_names
from .stores import ResidentStore, RingStore, Tensors, WeightStore
from .streams import can_capture, stream_of
from .suited import suited

PRECISIONS = ("bf16", *FORMATS, *LIBRARIES)
HOSTED = ("", "inputs", "results")
_WARM_UP = 2
# cuDNN's is the fastest on Hopper, flash everywhere else; the plain one always works.
_ATTENTION = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@dataclass(frozen=True)
class MemorySettings:
    """How the base lies in memory and how a step is run.

    precision: of the blocks' frozen weights; with a library's name behind it, quantised by that. streamed: how many blocks lie in pinned host memory (0: none). slots: device
    buffers for streamed blocks. kept: blocks whose activations are kept instead of recomputed. compiled: blocks through
    torch.compile. captured: the step as a CUDA graph; of streamed blocks, the written-out ones alone.
    """

    precision: str = "bf16"
    streamed: int = 0
    slots: int = 3
    kept: int = 0
    compiled: bool = True
    captured: bool = True
    fused: bool = True
    hosted: str = ""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise LTX2Error(f"precision is {self.precision!r}; choose one of {', '.join(PRECISIONS)}.")
        if self.hosted not in HOSTED:
            raise LTX2Error(f"hosted is {self.hosted!r}; choose inputs, results, or nothing.")
        if min(self.streamed, self.kept) < 0 or self.slots < 2:
            raise LTX2Error("streamed and kept must be at least 0 and slots at least 2; correct them.")


# Takes the blocks' weights one by one, whole, and keeps them elsewhere than on this card: on several, say.
Shard = Callable[[Iterable[Tensors]], WeightStore]
# (block's number, block, device): its frozen weights are there afterwards.
Bring = Callable[[int, nn.Module, torch.device], None]


def _own_tensors(block: nn.Module) -> dict[str, Tensor]:
    """What is the block's own beside its frozen weights: trained values, and the keys of dropout."""
    return {n: p for n, p in block.named_parameters() if p.requires_grad} | keys_of(block)


def bring_own(index: int, block: nn.Module, device: torch.device) -> None:
    """Of a model that was read whole."""
    for parameter in block.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(device)


def _empty(block: nn.Module) -> None:
    for parameter in block.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.new_empty(0)


def _formed(blocks: Sequence[nn.Module], precision: str, device: torch.device, bring: Bring) -> Iterator[Tensors]:
    """Each block's weights on ``device``, where quantising is fast; one block at a time is there in full."""
    for index, block in enumerate(blocks):
        bring(index, block, device)
        tensors = quantise_block(block, precision)
        _empty(block)
        yield tensors


def make_store(blocks: Sequence[nn.Module], settings: MemorySettings, device: torch.device, shard: Shard | None = None, bring: Bring = bring_own) -> WeightStore:
    """The frozen weights of ``blocks`` as ``settings`` ask, block by block: there is never a second full copy.

    With plain resident weights the blocks keep them. Otherwise their own frozen parameters are emptied, and the blocks
    only serve as code.
    """
    if shard is not None:
        return shard(_formed(blocks, settings.precision, device, bring))
    if settings.precision == "bf16" and not settings.streamed:
        return ResidentStore([quantise_block(block, "bf16") for block in blocks])
    formed = _formed(blocks, settings.precision, device, bring)
    if not settings.streamed:
        return ResidentStore(list(formed))
    return RingStore(formed, device, settings.slots, range(min(settings.streamed, len(blocks)), len(blocks)))


@dataclass(frozen=True)
class _Form:
    """How blocks run and where their weights are. weights: (block's number, its tensors at rest, dtype) -> all frozen ones by name."""

    runner: BlockRunner
    store: WeightStore
    weights: Callable[[int, Tensors, torch.dtype], Mapping[str, Tensor]]
    lends: bool  # the blocks' own weights are views of the store's


def _compiled_form(blocks: Sequence[nn.Module], settings: MemorySettings, device: torch.device, shard: Shard | None, bring: Bring, own: Sequence[Tensors]) -> _Form:
    """``own``: each block's tensors beside its frozen weights."""
    store = make_store(blocks, settings, device, shard, bring)
    runner = BlockRunnerFor(Programs.of_all(blocks, settings.compiled), store, own, settings.kept)
    names = [own_names(b) for b in blocks]
    return _Form(runner, store, lambda index, tensors, dtype: dequantised(under_own_names(tensors, names[index]), dtype), False)


def _fused_form(blocks: Sequence[nn.Module], settings: MemorySettings, device: torch.device, shard: Shard | None, bring: Bring) -> _Form | None:
    """None where the written-out block does not apply."""
    adapters = [adapters_of(block) for block in blocks] if settings.fused and supported(blocks[0]) else [None]
    if any(a is None for a in adapters):
        return None
    layouts, resident = layouts_of(blocks, adapters), settings.precision == "bf16" and not settings.streamed and shard is None

    def form() -> Iterator[Tensors]:
        for index, block in enumerate(blocks):
            bring(index, block, device)
            tensors = packed(block, layouts, settings.precision)
            if resident:
                use_packed(block, layouts, tensors)
            else:
                _empty(block)
            if device.type == "cuda":
                torch.cuda.empty_cache()  # the parts were of other sizes than the whole
            yield tensors

    if shard is not None:
        store: WeightStore = shard(form())
    elif settings.streamed:
        store = RingStore(form(), device, settings.slots, range(min(settings.streamed, len(blocks)), len(blocks)))
    else:
        store = ResidentStore(list(form()))
    hosted = len(blocks) - settings.kept
    shelf = Shelf(device, hosted, settings.hosted == "results") if settings.hosted and hosted > 0 else None
    runner = FusedRunner(FusedModel.of(blocks[0], store, layouts, adapters, resident, device), settings.kept, shelf)
    return _Form(runner, store, lambda index, tensors, dtype: unpacked(blocks[index], layouts, tensors, dtype), resident)


class FastEngine:
    """An engine of ``train.loop``: see :class:`ltx2core.train.step.Engine`. ``shard``, when given, keeps the weights;
    ``bring`` gets them, for a model whose blocks are not read yet.
    """

    def __init__(self, model: nn.Module, objective: Objective, device: torch.device, settings: MemorySettings, shard: Shard | None = None, bring: Bring = bring_own):
        settings = suited(settings, model)
        self._model, self._objective, self._device, self._settings = model, objective, device, settings
        blocks = list(model.transformer_blocks)
        # Where blocks wait in host memory the fresh adapter was made there too.
        for tensor in (*self._trainable(), *keys_of(model).values()):
            tensor.data = tensor.data.to(device)
        self._blocks, self._own = blocks, [_own_tensors(b) for b in blocks]
        self._form = _fused_form(blocks, settings, device, shard, bring) or _compiled_form(blocks, settings, device, shard, bring, self._own)
        # diffusers' blocks are compiled, and a compiled block may wait for the host; written-out ones never do.
        self._captured = settings.captured and can_capture(device) and (not settings.streamed or isinstance(self._form.runner, FusedRunner))
        self._graphs: dict[tuple, _Graph] = {}
        # One pool for the graphs of all buckets: they never run at once, and their results are copied out.
        self._pool = torch.cuda.graph_pool_handle() if self._captured else None

    def close(self) -> None:
        """Gives the model its weights back as they were, where it has them still."""
        self._graphs.clear()
        for block in self._blocks if self._form.lends else ():
            unpack(block)
        self._form = None

    def _short_step(self, inputs: StepInputs) -> StepLosses:
        """With the first and the last blocks alone, and one of each set of adapters: every kernel of a step has then run, in little memory."""
        count, run = len(self._blocks), self._form.runner
        chosen = {0, 1, *range(count - 3, count), *{frozenset(own): i for i, own in enumerate(self._own)}.values()}

        def some(index: int, block: nn.Module, hidden: Tensor, audio_hidden: Tensor, others: BlockInputs) -> tuple[Tensor, Tensor]:
            return run(index, block, hidden, audio_hidden, others) if index in chosen else (hidden, audio_hidden)

        return self._step(inputs, some)

    def _step(self, inputs: StepInputs, runner: BlockRunner | None = None) -> StepLosses:
        if self._captured:
            self._form.store.begin()
        losses = training_step(self._model, inputs, self._objective, runner or self._form.runner)
        losses.total.backward()
        if self._captured:
            self._form.store.end()
        return losses.detached()

    def __call__(self, inputs: StepInputs) -> StepLosses:
        with sdpa_kernel(_ATTENTION, set_priority=True):
            if not self._captured:
                return self._step(inputs.to(self._device, non_blocking=True))
            key = inputs.signature
            if key not in self._graphs:
                self._graphs[key] = _Graph(self._step, self._short_step, inputs.to(self._device), self._trainable(), self._pool)
            losses = self._graphs[key].replay(inputs)
            self._form.store.forget()
            return losses

    def _trainable(self) -> list[nn.Parameter]:
        head = self._objective.crepa.head.parameters() if self._objective.crepa else ()
        return [p for p in self._model.parameters() if p.requires_grad] + list(head)

    def evaluate(self, inputs: StepInputs) -> StepLosses:
        with torch.no_grad(), sdpa_kernel(_ATTENTION, set_priority=True):
            return training_step(self._model, inputs.to(self._device), self._objective, self._form.runner)

    def predict(self, inputs: StepInputs) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), sdpa_kernel(_ATTENTION, set_priority=True):
            return velocities(self._model, inputs.to(self._device), self._objective, self._form.runner)

    def plain_blocks(self) -> AbstractContextManager[None]:
        if self._settings.precision == "bf16" and not self._settings.streamed:
            return nullcontext()  # the blocks kept their weights
        return live_blocks(self._model, self._blocks, self._weights, self._form.store.release)

    def _weights(self, index: int, dtype: torch.dtype) -> Mapping[str, Tensor]:
        """All weights of a block on the device, until the store is told that they are no longer needed."""
        frozen = self._form.store.acquire(index, range(index + 1, len(self._blocks)))
        return {**self._form.weights(index, frozen, dtype), **self._own[index]}


_Step = Callable[[StepInputs], StepLosses]


class _Graph:
    """One captured step. Gradients are added to the parameters' own, whose addresses must not change afterwards."""

    def __init__(self, step: _Step, short_step: _Step, inputs: StepInputs, parameters: Sequence[nn.Parameter], pool):
        self._inputs = inputs.map(torch.clone)
        kept = [None if p.grad is None else p.grad.clone() for p in parameters]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        side = stream_of(torch.device("cuda"), "capture")
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                short_step(self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        torch.cuda.empty_cache()  # what warming up took is taken again from the pool
        # Only this thread may do nothing that a graph cannot hold: meanwhile others page-lock the next clips, and ask NCCL's events.
        # On the stream that warmed up, whose work space is then there: a graph's pool that held it would never be given back.
        with torch.cuda.graph(self._graph, pool=pool, stream=side, capture_error_mode="thread_local"):
            self._losses = step(self._inputs)
        # Warming up added to the gradients; capturing only recorded.
        with torch.no_grad():
            for parameter, before in zip(parameters, kept, strict=True):
                parameter.grad.zero_() if before is None else parameter.grad.copy_(before)

    def replay(self, inputs: StepInputs) -> StepLosses:
        for name, tensor in self._inputs.tensors().items():
            tensor.copy_(inputs.tensors()[name], non_blocking=True)
        self._graph.replay()
        return StepLosses(*(t.clone() for t in vars(self._losses).values()))


def fast_engine(settings: MemorySettings, bring: Bring = bring_own):
    """An engine factory for ``train.loop.train``."""

    def make(model: nn.Module, objective: Objective, device: torch.device, checkpointing: bool) -> FastEngine:
        chosen = settings if checkpointing else MemorySettings(**{**vars(settings), "kept": len(model.transformer_blocks)})
        return FastEngine(model, objective, device, chosen, bring=bring)

    return make
