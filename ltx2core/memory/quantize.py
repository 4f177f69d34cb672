"""Frozen weights in 8 bits: one scale a row, dequantised where they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from ..errors import LTX2Error

# Largest value of the stored type; a row's largest weight is put there.
FORMATS = {"int8": (torch.int8, 127.0), "fp8": (torch.float8_e4m3fn, 448.0)}


@dataclass(frozen=True)
class QuantisedWeight:
    """values [out, in] int8 or float8; scale [out, 1] bfloat16 or float32; the weight is values * scale."""

    values: Tensor
    scale: Tensor

    def dequantise(self, dtype: torch.dtype) -> Tensor:
        return scaled(self.values, self.scale, dtype)


def scaled(values: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """values * scale, rounded once."""
    wide = torch.promote_types(dtype, scale.dtype)
    return (values.to(wide) * scale.to(wide)).to(dtype)


def quantise(weight: Tensor, kind: str) -> QuantisedWeight:
    """Symmetric, one scale a row: round(w / s) with s = max|row| / largest; or as a library does it, in the same form.

    Raises:
        LTX2Error: an unknown kind, or its library is not installed.
    """
    if kind in LIBRARIES:
        return LIBRARIES[kind](weight)
    if kind not in FORMATS:
        raise LTX2Error(f"The precision {kind!r} is not known; choose one of {', '.join((*FORMATS, *LIBRARIES))}.")
    dtype, largest = FORMATS[kind]
    scale = (weight.float().abs().amax(dim=1, keepdim=True) / largest).clamp(min=1e-12)
    # The scale is used in bfloat16 beside the weights, so the values are rounded for that scale.
    scale = scale.to(torch.bfloat16).float().clamp(min=1e-12)
    values = (weight.float() / scale).clamp(-largest, largest)
    return QuantisedWeight(values.round().to(dtype) if kind == "int8" else values.to(dtype), scale.to(torch.bfloat16))


def _torchao(weight: Tensor, config: str) -> QuantisedWeight:
    """``config``: of torchao.quantization, weights only, one scale a row."""
    try:
        from torchao import quantization
    except ImportError as error:
        raise LTX2Error("torchao is not installed; install it (pip install torchao), or choose int8 or fp8, which need nothing.") from error
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    quantization.quantize_(layer, getattr(quantization, config)())
    found = layer.weight
    if not hasattr(found, "qdata") or found.scale.numel() != weight.shape[0]:
        raise LTX2Error("This torchao keeps quantised weights in another form; update it (pip install -U torchao), or choose int8 or fp8, which need nothing.")
    return QuantisedWeight(found.qdata, found.scale.view(-1, 1))


def _quanto(weight: Tensor) -> QuantisedWeight:
    try:
        from optimum.quanto import AbsmaxOptimizer, qint8, quantize_weight
    except ImportError as error:
        raise LTX2Error("optimum-quanto is not installed; install it (pip install optimum-quanto), or choose int8, which is the same form.") from error
    found = quantize_weight(weight, qtype=qint8, axis=0, scale=AbsmaxOptimizer()(weight, qtype=qint8, axis=0))
    return QuantisedWeight(found._data, found._scale.view(-1, 1))


# By the names that SimpleTuner has for them.
LIBRARIES: dict[str, Callable[[Tensor], QuantisedWeight]] = {
    "int8-torchao": lambda weight: _torchao(weight, "Int8WeightOnlyConfig"), "fp8-torchao": lambda weight: _torchao(weight, "Float8WeightOnlyConfig"), "int8-quanto": _quanto,
}  # fmt: skip


# Of a block, what stays as it is: norms of queries and keys, biases, modulation tables, and adapters. Outside the blocks all
# does: input and output projections, timestep and caption embeddings.
HIGH_PRECISION = ("*.norm_q.weight", "*.norm_k.weight", "*norm?.weight", "*.bias", "*scale_shift_table", "*lora_*", "*.change.*")


def is_quantisable(name: str, shape: Sequence[int]) -> bool:
    """Whether a block's parameter may be stored in 8 bits: the weights of its linears."""
    return len(shape) == 2 and name.endswith(".weight") and not any(fnmatchcase(name, kept) for kept in HIGH_PRECISION)


def _stored_name(name: str) -> str:
    return name.replace(".base_layer.", ".")


def own_names(block: nn.Module) -> dict[str, str]:
    """Name in the store -> the parameter's in ``block``, where an adapter may be around its layer."""
    return {_stored_name(name): name for name, _ in block.named_parameters()}


def quantise_block(block: nn.Module, kind: str) -> dict[str, Tensor]:
    """Tensors of one block's frozen weights under flat names: "x.weight" plain, or "x.weight" with "x.weight::scale".

    The same names whether adapters are around the block's layers or not, so that all blocks have one layout.
    """
    tensors = {}
    for own, parameter in block.named_parameters():
        name = _stored_name(own)
        if parameter.requires_grad:
            continue
        if kind != "bf16" and is_quantisable(name, parameter.shape):
            quantised = quantise(parameter.data, kind)
            tensors[name], tensors[name + SCALE] = quantised.values, quantised.scale
        else:
            tensors[name] = parameter.data
    return tensors


SCALE = "::scale"


def under_own_names(tensors: dict[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors of the store under the names of one block's parameters; ``names``: its ``own_names``."""
    return {names[n.removesuffix(SCALE)] + (SCALE if n.endswith(SCALE) else ""): t for n, t in tensors.items()}


def is_quantised(tensors: dict[str, Tensor]) -> bool:
    return any(name.endswith(SCALE) for name in tensors)


def dequantised(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights in ``dtype``; plain ones are passed on."""
    weights = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            continue
        scale = tensors.get(name + SCALE)
        weights[name] = tensor if scale is None else scaled(tensor, scale, dtype)
    return weights
