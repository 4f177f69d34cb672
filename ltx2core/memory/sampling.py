"""How blocks run while sampling: written out on a card that holds them whole, else as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils._triton import has_triton

from ..fused.block import supported
from ..fused.groups import GROUPS, Adapters, Factors, layouts_of
from ..fused.runner import FusedModel, FusedRunner
from ..fused.weights import packed, unpack, use_packed
from ..models.forward import BlockRunner, run_block
from ..models.handle import Models
from ..protocols import Reporter, Residency
from ..sample.adapters import lora_beside
from .layers import WaitingLayers, needs_streaming
from .residency import WithoutBlocks
from .stores import ResidentStore


def _factors(block: nn.Module) -> dict[str, Factors] | None:
    """The adapters that act beside a block's layers; None where one is no LoRA, or something else hooks in."""
    layers = {name: block.get_submodule(name) for members in GROUPS.values() for name in members}
    hooked = {id(m) for m in block.modules() if m._forward_hooks or m._forward_pre_hooks}
    found: dict[str, Factors] = {}
    for name, layer in layers.items():
        if type(layer) is not nn.Linear:
            return None
        if id(layer) in hooked:
            part = lora_beside(layer)
            if part is None:
                return None
            found[name] = Factors(part.down, part.up, 1.0)
    return found if len(found) == len(hooked) else None


def _whole(transformer: nn.Module) -> bool:
    """Whether all weights of the blocks lie plainly on one NVIDIA card that Triton can use."""
    weights = list(transformer.transformer_blocks.parameters())
    first = weights[0]
    return first.is_cuda and has_triton() and all(w.device == first.device and w.dtype == first.dtype and not w.is_inference() for w in weights)


@contextmanager
def kept_streams(models: Models) -> Iterator[None]:
    """Inside, blocks that are streamed stay in host memory from one run to the next, instead of being read from the file each time."""
    models.kept["transformer"] = None
    try:
        yield
    finally:
        if models.kept.pop("transformer") is not None:
            models.drop("transformer")


@contextmanager
def placed(models: Models, residency: Residency, reporter: Reporter, working_bytes: int = 0, streamed: bool | None = None) -> Iterator[nn.Module]:
    """The transformer of ``models``, ready to run: whole on the device, or its blocks brought one by one from host memory.

    Blocks that were streamed are used up, and the next user reads the file anew, but for :func:`kept_streams`.

    Args:
        streamed: None streams where the device has no room for the whole.
    """
    transformer = models.component("transformer")
    waiting, buffers = models.kept.get("transformer"), 0
    if waiting is None and not (needs_streaming(transformer, residency, working_bytes) if streamed is None else streamed):
        with residency.use(transformer, working_bytes):
            yield transformer
        return
    reporter.message("The transformer does not fit the device whole, so its blocks wait in host memory and are copied ahead of use.")
    if waiting is None:
        residency.release(transformer)
        waiting = WaitingLayers(transformer.transformer_blocks, residency.device)
        buffers = waiting.buffers
        if "transformer" in models.kept:
            models.kept["transformer"] = waiting
    try:
        with waiting.running(), WithoutBlocks(residency, buffers).use(transformer, working_bytes):
            yield transformer
    finally:
        if "transformer" not in models.kept:
            models.drop("transformer")
        residency.release(transformer)


@contextmanager
def sampling_runner(transformer: nn.Module, wanted: bool | None = None) -> Iterator[BlockRunner]:
    """The fastest runner for ``Denoiser.run`` while the ``with`` block runs; the model is as it was afterwards.

    Args:
        transformer: with the adapters that are applied to it (see ``sample.adapters.applied``), which must stay the same.
        wanted: True or False instead of what the machine suggests.
    """
    blocks = list(transformer.transformer_blocks)
    wanted = _whole(transformer) if wanted is None else wanted
    adapters: list[Adapters | None] = [_factors(b) if supported(b) else None for b in blocks] if wanted else [None]
    if any(a is None for a in adapters) or hasattr(transformer, "peft_config"):
        yield run_block
        return
    device = transformer.proj_in.weight.device
    with torch.inference_mode(False), torch.no_grad():
        layouts, stored = layouts_of(blocks, adapters), []
        try:
            for block in blocks:
                tensors = packed(block, layouts, "bf16")
                use_packed(block, layouts, tensors)
                stored.append(tensors)
                if device.type == "cuda":
                    torch.cuda.empty_cache()
            yield FusedRunner(FusedModel.of(blocks[0], ResidentStore(stored), layouts, adapters, True, device))
        finally:
            stored.clear()
            for block in blocks:
                unpack(block)
