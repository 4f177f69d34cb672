"""How much memory a step needs, and which form of the base fits a card; decided before anything is loaded.

The constants were fitted to the peaks that ``benchmarks/train_step.py`` reserved on an H200 (benchmarks/results).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..checkpoint.shapes import Shapes, block_count
from ..errors import LTX2Error
from ..protocols import MemoryPlanned
from .engine import MemorySettings
from .quantize import is_quantisable

GIB = 2**30
# Bytes of a trained value: itself, its gradient, two moments; with a float32 master the latter three are float32.
OPTIMIZER_BYTES = {"adamw": 20, "adamw_bf16": 8}
_FIXED = 0.6 * GIB  # kernels' work space, inputs
_STRIPS = 1.35  # the adapters' second copy inside resident packed matrices, over their own bytes in bf16
# At 48 blocks of 4096: one block's activations; the recomputed blocks' inputs; a kept block's activations and its text's.
_WORK_PER_TOKEN, _INPUT_PER_TOKEN = 0.00033 * GIB, 0.00038 * GIB
_KEPT_PER_TOKEN, _KEPT_PER_SAMPLE = 0.00021 * GIB, 0.0482 * GIB
# On the way to and from host memory.
_RESULTS_PER_TOKEN, _RESULTS_FIXED = 0.00014 * GIB, 0.25 * GIB
# In host memory, a token and block, page-locked requests being rounded up to a power of two (a third more on average).
_HOST_PER_TOKEN = {"": 0, "inputs": 8192 * 4 // 3, "results": 57344 * 4 // 3}
# Of a block's 8-bit bytes in bf16: matrices that are formed while they are used, and what the allocator loses beside them.
_FORMED = {"resident": 1.35, "streamed": 1.0, "streamed, captured": 0.35}
# Tried in this order; the first that fits is the fastest that fits.
_CANDIDATES = (
    *(MemorySettings(kept=k) for k in (48, 36, 24)),
    MemorySettings(hosted="results"),
    MemorySettings(kept=12),
    MemorySettings(),
    *(MemorySettings("int8", kept=k) for k in (48, 36, 24, 12)),
    MemorySettings("int8", hosted="results"),
    MemorySettings("int8"),
    MemorySettings("int8", hosted="inputs"),
    MemorySettings("int8", streamed=24, hosted="inputs"),
    MemorySettings("int8", streamed=24),
    MemorySettings("int8", streamed=46, hosted="inputs"),
    MemorySettings("int8", streamed=48, hosted="inputs"),
    MemorySettings("int8", streamed=48),
    MemorySettings("int8", streamed=48, slots=2, hosted="inputs"),
    MemorySettings("int8", streamed=48, slots=2),
)
# The same where the blocks are shared out over cards. Their inputs wait in host memory: that is what sharding is for.
_SHARDED = (MemorySettings(hosted="inputs", captured=False), MemorySettings("int8", hosted="inputs", captured=False))
_GATHERED = 2  # blocks that are whole on a card then: the one that runs, and the next on its way


@dataclass(frozen=True)
class BaseSize:
    """Bytes of the base in bf16: one block, its weights that may be stored in 8 bits, all else outside the blocks."""

    blocks: int
    block: int
    quantisable: int
    rest: int

    @classmethod
    def of(cls, model: nn.Module) -> BaseSize:
        """Of a transformer without adapters, on any device (meta too)."""
        return cls.of_shapes({name: tuple(p.shape) for name, p in model.named_parameters()})

    @classmethod
    def of_shapes(cls, shapes: Shapes) -> BaseSize:
        """Of a transformer's parameters, whose blocks are alike."""
        first = {name: shape for name, shape in shapes.items() if name.startswith("transformer_blocks.0.")}
        blocks, block = block_count(shapes), 2 * sum(map(math.prod, first.values()))
        quantisable = 2 * sum(math.prod(shape) for name, shape in first.items() if is_quantisable(name, shape))
        return cls(blocks, block, quantisable, 2 * sum(map(math.prod, shapes.values())) - blocks * block)

    def block_bytes(self, precision: str) -> int:
        return self.block if precision == "bf16" else self.block - self.quantisable // 2


@dataclass(frozen=True)
class Load:
    """The largest bucket of a run: tokens of video and sound in a batch, samples in it, trained values. saved: of those, what a
    checkpoint has, where the plan counts more (see ``load_of``); 0 for all. written_out: whether the written-out blocks serve
    its adapter.
    """

    tokens: int
    samples: int
    trained: int
    optimizer: str = "adamw"
    saved: int = 0
    written_out: bool = True

    def possible(self, settings: MemorySettings) -> MemorySettings:
        """``settings`` as a step of this run can be carried out."""
        if self.written_out:
            return settings
        return replace(settings, fused=False, hosted="", captured=settings.captured and not settings.streamed)


@dataclass(frozen=True)
class Plan:
    """Predicted peak bytes on the device by part, and what lies in host memory. optimizer: the adapter's too. trained: values.

    cards: that share the blocks out; 1 has them whole.
    """

    settings: MemorySettings
    weights: int
    optimizer: int
    activations: int
    host: int
    trained: int = 0
    cards: int = 1

    @property
    def adapter(self) -> int:
        """Of ``optimizer``, the trained values and their gradients in bf16."""
        return 4 * self.trained

    def told(self, device_bytes: int) -> MemoryPlanned:
        """For the reporter; ``device_bytes`` were free."""
        return MemoryPlanned(self.weights, self.adapter, self.optimizer - self.adapter, self.activations, device_bytes, f"Memory: {self}.")

    @property
    def total(self) -> int:
        return self.weights + self.optimizer + self.activations

    def __str__(self) -> str:
        s = self.settings
        whole = f"{s.precision} shared out over {self.cards} cards" if self.cards > 1 else f"{s.precision} on the card"
        streamed = f"{s.streamed} blocks streamed" if s.streamed else ""
        waiting = {"": "", "inputs": "the blocks' inputs in host memory", "results": "activations in host memory"}[s.hosted]
        host = f"{self.host / GIB:.1f} GiB of host memory" if self.host else ""
        form = ", ".join(part for part in (s.precision if s.streamed else whole, streamed, f"{s.kept} blocks kept", waiting, host) if part)
        return (
            f"{form}: weights {self.weights / GIB:.1f} + adapter and optimizer {self.optimizer / GIB:.1f} "
            f"+ activations {self.activations / GIB:.1f} = {self.total / GIB:.1f} GiB"
        )


def predict(size: BaseSize, load: Load, settings: MemorySettings, cards: int = 1) -> Plan:
    """Peak bytes of a training step, on each of ``cards`` that share the blocks out; with as much of ``settings`` as is possible."""
    settings = load.possible(settings)
    block = size.block_bytes(settings.precision)
    streamed, kept = min(settings.streamed, size.blocks), min(settings.kept, size.blocks)
    gathered = _GATHERED * block if cards > 1 else 0
    weights = size.rest + (size.blocks - streamed) * block // cards + gathered + min(settings.slots, streamed) * block
    if settings.precision != "bf16":
        form = "resident" if not streamed else "streamed, captured" if settings.captured else "streamed"
        weights += round(size.quantisable * _FORMED[form])
    elif not streamed:
        weights += round(_STRIPS * 2 * load.trained / cards)
    scale, again = size.blocks / 48, size.blocks - kept
    activations = _FIXED + load.tokens * _WORK_PER_TOKEN + kept * (load.tokens * _KEPT_PER_TOKEN + load.samples * _KEPT_PER_SAMPLE)
    if not settings.hosted:
        activations += load.tokens * _INPUT_PER_TOKEN * scale * again / size.blocks
    elif settings.hosted == "results":
        activations += load.tokens * _RESULTS_PER_TOKEN + _RESULTS_FIXED
    host = streamed * block + again * load.tokens * _HOST_PER_TOKEN[settings.hosted]
    return Plan(settings, weights, load.trained * OPTIMIZER_BYTES[load.optimizer], round(activations), host, load.trained, cards)


def choose(size: BaseSize, load: Load, device_bytes: int, host_bytes: int, captured: bool = True) -> Plan:
    """The fastest form that fits.

    Args:
        captured: whether steps can be captured there; streamed ones take more memory where they cannot.

    Raises:
        LTX2Error: none fits; says what the smallest needs and what to try, in order.
    """
    return _first([predict(size, load, replace(settings, captured=captured)) for settings in _CANDIDATES], device_bytes, host_bytes)


def choose_sharded(size: BaseSize, load: Load, cards: int, device_bytes: int, host_bytes: int) -> Plan:
    """As ``choose``, with the blocks shared out over ``cards``."""
    return _first([predict(size, load, settings, cards) for settings in _SHARDED], device_bytes, host_bytes)


def _first(plans: Sequence[Plan], device_bytes: int, host_bytes: int) -> Plan:
    for plan in plans:
        if plan.total <= device_bytes and plan.host <= host_bytes:
            return plan
    least = min(plans, key=lambda p: p.total)
    shared = f" each of the {least.cards} cards" if least.cards > 1 else " the card"
    raise LTX2Error(
        f"This run needs at least {least.total / GIB:.1f} GiB on{shared} and {least.host / GIB:.1f} GiB of host memory; {device_bytes / GIB:.1f} and "
        f"{host_bytes / GIB:.1f} are free. Try, in this order: a smaller resolution, 49 or 33 frames, a smaller rank, the optimizer adamw_bf16."
    )


def free_device_bytes(device: torch.device) -> int:
    """What a run may take of ``device``: what is free, and what this process holds but does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def free_host_bytes() -> int:
    """Host memory that pinned buffers may take: three quarters of what is available."""
    import psutil

    return psutil.virtual_memory().available * 3 // 4
