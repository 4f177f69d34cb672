"""A block's weights in packed form, at rest (plain or in 8 bits) and in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..memory.quantize import SCALE, quantise, scaled
from . import ops
from .groups import GROUPS, Adapters, GroupLayout, base_layer
from .linear import PackedLinear

Tensors = dict[str, Tensor]
BIAS = "::bias"


@torch.no_grad()
def packed(block: nn.Module, layouts: Mapping[str, GroupLayout], precision: str) -> Tensors:
    """Of one block: a packed matrix (its adapters not filled in) or the 8-bit weight and its scale for each group, their biases, all else as it is."""
    found: Tensors = {}
    grouped = set()
    for group, members in GROUPS.items():
        layers = [base_layer(block, m) for m in members]
        weights, layout = [layer.weight.detach() for layer in layers], layouts[group]
        grouped |= {id(p) for layer in layers for p in layer.parameters()}
        if precision == "bf16":
            found[group] = layout.empty(weights[0])
            torch.cat(weights, out=found[group][: layout.rows, : layout.inner]) if len(weights) > 1 else found[group][: layout.rows, : layout.inner].copy_(weights[0])
        else:
            quantised = quantise(torch.cat(weights), precision)
            found[group], found[group + SCALE] = quantised.values, quantised.scale
        if layers[0].bias is not None:
            found[group + BIAS] = torch.cat([layer.bias.detach() for layer in layers])
    found |= {n: p.detach() for n, p in block.named_parameters() if id(p) not in grouped and not p.requires_grad}
    return found


@torch.no_grad()
def use_packed(block: nn.Module, layouts: Mapping[str, GroupLayout], tensors: Tensors) -> None:
    """The block's own weights become views of the packed ones, so that there is one copy."""
    for group, layout in layouts.items():
        for member, rows, _ in layout.places():
            base_layer(block, member).weight.data = tensors[group][rows, : layout.inner]


def unpack(block: nn.Module) -> None:
    """Ends ``use_packed``: weights of their own again."""
    for members in GROUPS.values():
        for member in members:
            weight = base_layer(block, member).weight
            if weight.numel() and weight.untyped_storage().nbytes() > weight.nbytes:
                weight.data = weight.data.clone(memory_format=torch.contiguous_format)


def unpacked(block: nn.Module, layouts: Mapping[str, GroupLayout], tensors: Tensors, dtype: torch.dtype) -> Tensors:
    """The block's frozen weights under its own parameters' names, in ``dtype``; views where they are packed plainly."""
    names = {id(p): n for n, p in block.named_parameters()}
    found = {n: t.to(dtype) for n, t in tensors.items() if "::" not in n and n not in GROUPS}
    for group, layout in layouts.items():
        weights, scale = tensors[group][: layout.rows, : layout.inner], tensors.get(group + SCALE)
        weights = weights.to(dtype) if scale is None else scaled(weights, scale, dtype)
        for member, rows, _ in layout.places():
            layer = base_layer(block, member)
            found[names[id(layer.weight)]] = weights[rows]
            if layer.bias is not None:
                found[names[id(layer.bias)]] = tensors[group + BIAS][rows].to(dtype)
    return found


@dataclass(frozen=True)
class BlockWeights:
    """One block's tensors while it runs."""

    tensors: Tensors
    layouts: Mapping[str, GroupLayout]
    adapters: Adapters
    dtype: torch.dtype

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def linear(self, group: str) -> PackedLinear:
        """Adapters inside; from 8 bits its matrix is formed now and belongs to the caller."""
        return PackedLinear(self._matrix(group), self.tensors.get(group + BIAS), self.layouts[group], self.adapters)

    def _matrix(self, group: str) -> Tensor:
        tensor, layout = self.tensors[group], self.layouts[group]
        scale = self.tensors.get(group + SCALE)
        if scale is None:
            return tensor
        matrix = layout.empty(tensor.new_empty(0, dtype=self.dtype))
        ops.fill(matrix, layout, self.adapters, tensor, scale)
        return matrix

    def refresh(self) -> None:
        """The adapters' present values into matrices that lie here packed."""
        for group, layout in self.layouts.items():
            if layout.width and group + SCALE not in self.tensors:
                ops.fill(self.tensors[group], layout, self.adapters)
