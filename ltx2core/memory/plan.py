"""How much memory a step needs, and which form of the base fits a card; decided before anything is loaded.

The constants were fitted to the peaks that ``benchmarks/train_step.py`` reserved on an H200 (benchmarks/results).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ..errors import LTX2Error
from ..protocols import MemoryPlanned
from .engine import MemorySettings
from .quantize import is_quantisable

GIB = 2**30
# Bytes of a trained value: itself, its gradient, two moments; with a float32 master the latter three are float32.
OPTIMIZER_BYTES = {"adamw": 20, "adamw_bf16": 8}
_FIXED = 0.6 * GIB  # kernels' work space, the optimizer's float32 pieces, inputs
_PER_TOKEN = 0.00066 * GIB  # recomputed blocks' inputs and one block's activations, at 48 blocks of 4096
_KEPT_PER_TOKEN, _KEPT_PER_SAMPLE = 0.008414 * GIB / 48, 1.805 * GIB / 48  # a kept block's activations; its text's
# Tried in this order; the first that fits is the fastest that fits.
_KEPT_STEPS = (48, 36, 24, 12)
_CANDIDATES = (
    *(MemorySettings(kept=k) for k in _KEPT_STEPS),
    MemorySettings(),
    MemorySettings("int8"),
    MemorySettings("int8", streamed=24, captured=False),
    MemorySettings("int8", streamed=48, captured=False),
    MemorySettings("int8", streamed=48, slots=2, captured=False),
)


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
        named = list(model.transformer_blocks[0].named_parameters())
        blocks, block = len(model.transformer_blocks), 2 * sum(p.numel() for _, p in named)
        total = 2 * sum(p.numel() for p in model.parameters())
        return cls(blocks, block, 2 * sum(p.numel() for n, p in named if is_quantisable(n, p)), total - blocks * block)

    def block_bytes(self, precision: str) -> int:
        return self.block if precision == "bf16" else self.block - self.quantisable // 2


@dataclass(frozen=True)
class Load:
    """The largest bucket of a run: tokens of video and sound in a batch, samples in it, trained values."""

    tokens: int
    samples: int
    trained: int
    optimizer: str = "adamw"


@dataclass(frozen=True)
class Plan:
    """Predicted peak bytes on the device by part, and what lies in host memory. optimizer: the adapter's too. trained: values."""

    settings: MemorySettings
    weights: int
    optimizer: int
    activations: int
    host: int
    trained: int = 0

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
        where = f"{s.precision}, {s.streamed} blocks streamed from {self.host / GIB:.1f} GiB of host memory" if s.streamed else f"{s.precision} on the card"
        return (
            f"{where}, {s.kept} blocks kept: weights {self.weights / GIB:.1f} + adapter and optimizer {self.optimizer / GIB:.1f} "
            f"+ activations {self.activations / GIB:.1f} = {self.total / GIB:.1f} GiB"
        )


def predict(size: BaseSize, load: Load, settings: MemorySettings) -> Plan:
    """Peak bytes of a training step."""
    block = size.block_bytes(settings.precision)
    streamed = min(settings.streamed, size.blocks)
    on_device = size.rest + (size.blocks - streamed) * block + min(settings.slots, streamed) * block
    # An 8-bit block is dequantised as a whole while it is used, and its resident form also in backward.
    extra = 0 if settings.precision == "bf16" else round(size.quantisable * (1.0 if streamed else 1.35))
    scale = size.blocks / 48
    kept = min(settings.kept, size.blocks)
    activations = _FIXED + load.tokens * _PER_TOKEN * scale + kept * (load.tokens * _KEPT_PER_TOKEN + load.samples * _KEPT_PER_SAMPLE)
    return Plan(settings, on_device + extra, load.trained * OPTIMIZER_BYTES[load.optimizer], round(activations), streamed * block, load.trained)


def choose(size: BaseSize, load: Load, device_bytes: int, host_bytes: int) -> Plan:
    """The fastest form that fits.

    Raises:
        LTX2Error: none fits; says what the smallest needs and what to try, in order.
    """
    plans = [predict(size, load, settings) for settings in _CANDIDATES]
    for plan in plans:
        if plan.total <= device_bytes and plan.host <= host_bytes:
            return plan
    least = min(plans, key=lambda p: p.total)
    raise LTX2Error(
        f"This run needs at least {least.total / GIB:.1f} GiB on the card and {least.host / GIB:.1f} GiB of host memory; {device_bytes / GIB:.1f} and "
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
