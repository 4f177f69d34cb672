"""Weights stored in 8 or 4 bits, read as floating numbers; each layer's format is read from the file itself.

Markers, as ComfyUI and Lightricks write them: header metadata ``_quantization_metadata``, a tensor
``<layer>.comfy_quant`` (JSON as bytes), the older ``scaled_fp8`` with ``<layer>.scale_weight``, or only the types of
``<layer>.weight`` and its scales.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .header import CheckpointError, Header

_COMPANIONS = (".weight_scale", ".weight_scale_2", ".input_scale", ".scale_weight", ".scale_input", ".comfy_quant")
_FP8 = {"float8_e4m3fn": torch.float8_e4m3fn, "float8_e5m2": torch.float8_e5m2}
_STORED_FP8 = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
_BLOCK = 16  # values that share one scale in nvfp4
_TILE = (128, 4)  # rows and columns of scales that cuBLAS keeps together
# e2m1: sign, two bits of exponent, one of mantissa.
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@dataclass(frozen=True)
class QuantisedLayer:
    """How one weight is stored. ``scale`` and ``scale_2`` are file keys, None when the format has none."""

    weight: str
    format: str
    scale: str | None = None
    scale_2: str | None = None


def _bytes(header: Header, key: str) -> bytes:
    info = header.tensors[key]
    with header.path.open("rb") as f:
        f.seek(header.data_start + info.begin)
        return f.read(info.nbytes)


def _declared_formats(header: Header) -> dict[str, str]:
    """Layer name -> format, from the header's metadata and the layers' own markers."""
    formats = {}
    raw = header.metadata.get("_quantization_metadata")
    try:
        if raw:
            for layer, value in json.loads(raw)["layers"].items():
                formats[layer] = value["format"] if isinstance(value, Mapping) else value
        for key in header.tensors:
            if key.endswith(".comfy_quant"):
                formats[key.removesuffix(".comfy_quant")] = json.loads(_bytes(header, key))["format"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{header.path.name}: its record of quantised layers cannot be read ({error}); download the file again.") from error
    return formats


def quantised_layers(header: Header, keys: Iterable[str] | None = None) -> dict[str, QuantisedLayer]:
    """Weight key -> how it is stored, for every weight of ``keys`` (all by default) that is not plain floating numbers.

    Raises:
        CheckpointError: a format that this pack does not know, or a scale that is missing or does not fit; names the layer.
    """
    formats, layers = _declared_formats(header), {}
    for key in header.tensors if keys is None else keys:
        layer, dtype = key.removesuffix(".weight"), header.tensors[key].dtype
        if layer == key or dtype not in ("U8", "I8", *_STORED_FP8):
            continue
        scale = next((layer + s for s in (".weight_scale", ".scale_weight") if layer + s in header.tensors), None)
        scale_2 = layer + ".weight_scale_2" if layer + ".weight_scale_2" in header.tensors else None
        kind = formats.get(layer) or _STORED_FP8.get(dtype) or ("nvfp4" if scale and scale_2 else dtype)
        if kind not in ("nvfp4", *_FP8):
            raise CheckpointError(f"{header.path.name}: layer {layer} is stored as {kind}, which this pack does not read; use a bf16, fp8 or fp4 (nvfp4) file.")
        if kind == "nvfp4" and not (scale and scale_2):
            raise CheckpointError(f"{header.path.name}: the 4-bit layer {layer} lacks its scales; download the file again.")
        layers[key] = QuantisedLayer(key, kind, scale, scale_2)
        _check_scales(header, layers[key])
    return layers


def _check_scales(header: Header, layer: QuantisedLayer) -> None:
    if layer.scale is None:
        return
    shape = logical_shape(header, layer.weight, layer)
    if layer.format == "nvfp4":
        fits = (math.ceil(shape[0] / _TILE[0]) * _TILE[0] * math.ceil(shape[1] / _BLOCK / _TILE[1]) * _TILE[1],)
    else:
        fits = (1, shape[0])
    if header.tensors[layer.scale].numel not in fits:
        raise CheckpointError(
            f"{header.path.name}: {layer.scale} has shape {header.tensors[layer.scale].shape}, which does not fit a {layer.format} weight of {shape}; "
            "use a bf16 file, or fp8 and fp4 files as Lightricks or ComfyUI publish them."
        )


def companion_keys(header: Header) -> frozenset[str]:
    """Keys that belong to quantised layers and are no weights of the model."""
    return frozenset(k for k in header.tensors if k.endswith(_COMPANIONS) or k == "scaled_fp8" or k.endswith(".scaled_fp8"))


def logical_shape(header: Header, key: str, layer: QuantisedLayer | None) -> tuple[int, ...]:
    """The weight's shape as the model sees it: nvfp4 packs two values a byte."""
    shape = header.tensors[key].shape
    return (*shape[:-1], shape[-1] * 2) if layer is not None and layer.format == "nvfp4" else shape


def unblock_scales(scales: Tensor, rows: int, columns: int) -> Tensor:
    """Scales in the order of cuBLAS's block-scaled products -> plain [rows, columns].

    Tiles of 128 x 4 lie one after another; inside a tile, row r and column c are at (r % 32) * 16 + (r // 32) * 4 + c.
    Source: cuBLAS documentation, "1D block scaling factors layout".
    """
    tiles_down, tiles_across = math.ceil(rows / 128), math.ceil(columns / 4)
    tiles = scales.reshape(tiles_down, tiles_across, 32, 4, 4)
    plain = tiles.permute(0, 3, 2, 1, 4).reshape(tiles_down * 128, tiles_across * 4)
    return plain[:rows, :columns]


def dequantize_nvfp4(packed: Tensor, scales: Tensor, scale_2: Tensor) -> Tensor:
    """uint8 [out, in / 2] -> float32 [out, in]; the high four bits of a byte come first."""
    e2m1 = torch.tensor([*_E2M1, *(-v for v in _E2M1)], device=packed.device)
    # One look-up a byte gives both values: half the look-ups of one a value.
    pairs = torch.cartesian_prod(e2m1, e2m1)
    rows, columns = packed.shape[0], packed.shape[1] * 2
    values = pairs.index_select(0, packed.flatten().int()).view(rows, columns // _BLOCK, _BLOCK)
    blocks = unblock_scales(scales.view(torch.float8_e4m3fn).float(), rows, columns // _BLOCK)
    return values.mul_((blocks * scale_2.float())[..., None]).view(rows, columns)


def dequantize_fp8(values: Tensor, scale: Tensor | None) -> Tensor:
    """float8 [out, ...] -> float32; ``scale`` is one number, or one a row."""
    if scale is None:
        return values.float()
    return values.float().mul_(scale.float().reshape(-1, *[1] * (values.dim() - 1)))


def read_weight(file, key: str, layer: QuantisedLayer | None, dtype: torch.dtype) -> Tensor:
    """One tensor of an open safetensors file as ``dtype``, its own memory; integers that are no weights stay as they are."""
    tensor = file.get_tensor(key)
    if layer is None:
        return tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != dtype else tensor.clone()
    scale = file.get_tensor(layer.scale) if layer.scale else None
    if layer.format == "nvfp4":
        return dequantize_nvfp4(tensor, scale, file.get_tensor(layer.scale_2).reshape(())).to(dtype)
    return dequantize_fp8(tensor.view(_FP8[layer.format]), scale).to(dtype)
