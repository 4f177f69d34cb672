"""Adapter files: read in the original, diffusers and kohya namings, written in the one that every reader agrees on.

Written: ``diffusion_model.<original module>.<tensor>`` with alpha/rank multiplied into one factor and no ``.alpha``
keys, because some readers ignore alpha and others take it as rank (measured).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import LTX2Error
from ..files import atomic_path, sort_header
from .adapter_layers import NAMES, Layer, LoRALayer, alpha_rank, from_tensors, is_whole
from .header import CheckpointError, Header, read_header
from .modules import linear_modules, to_diffusers, to_original

PREFIX = "diffusion_model."
# More blocks than any member of the family has; the table is names only.
_MOST_LAYERS = 64
# Other names of a LoRA's two matrices.
_ALIASES = {"lora_down.weight": "lora_A.weight", "lora_A.default.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight", "lora_B.default.weight": "lora_B.weight"}
_ENDINGS = {**{n: n for n in NAMES}, **_ALIASES, "alpha": "alpha"}


@dataclass(frozen=True)
class Adapter:
    """Changes of linear layers, scale folded in.

    layers: diffusers module name -> a record of ``adapter_layers``; a pair (down, up) is taken for a LoRA's.
    """

    name: str
    layers: Mapping[str, Layer]
    family: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        layers = {m: LoRALayer(*layer) if type(layer) is tuple else layer for m, layer in self.layers.items()}
        object.__setattr__(self, "layers", layers)

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(sorted({layer.rank for layer in self.layers.values()}))

    def state(self) -> dict[str, Tensor]:
        """{module}.{tensor} in diffusers names, such as {module}.lora_A.weight."""
        return {f"{m}.{k}": t for m, layer in self.layers.items() for k, t in layer.tensors().items()}


def save_adapter(path: str | os.PathLike, adapter: Adapter, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Write ``adapter`` in ComfyUI's and Lightricks' naming, atomically."""
    path = Path(path)
    tensors = ((f"{PREFIX}{to_original(m)}.{k}", t) for m, layer in adapter.layers.items() for k, t in layer.tensors().items())
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in tensors}
    metadata = {"format": "pt", **adapter.metadata}
    if adapter.family:
        metadata["ltx2_family"] = adapter.family
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata=metadata)
        sort_header(temporary)
    return path


def _split(key: str) -> tuple[str, str] | None:
    """(module part, tensor's name) of a key; None for a key that is no part of an adapter."""
    for ending, name in _ENDINGS.items():
        if key.endswith("." + ending):
            return key.removesuffix("." + ending), name
    return None


@lru_cache(maxsize=1)
def _kohya_names() -> Mapping[str, str]:
    """Underscored names, of original and diffusers spelling, to diffusers modules."""
    names = {}
    for module in linear_modules(_MOST_LAYERS):
        ours = to_diffusers(module)
        names[module.replace(".", "_")] = names[ours.replace(".", "_")] = ours
    return names


def module_name(raw: str) -> str | None:
    """Diffusers module name of a module as any of the three namings writes it; None when no naming fits."""
    if raw.startswith("lora_unet_"):
        return _kohya_names().get(raw.removeprefix("lora_unet_"))
    for prefix in (PREFIX, "model.diffusion_model.", "transformer.", "base_model.model."):
        raw = raw.removeprefix(prefix)
    return to_diffusers(raw)


def _metadata_scale(metadata: Mapping[str, str]) -> dict[str, float] | None:
    """alpha/rank as diffusers and peft store it beside the tensors; None when absent."""
    blob = metadata.get("lora_adapter_metadata")
    if not blob:
        return None
    try:
        config = {k.removeprefix("transformer."): v for k, v in json.loads(blob).items()}
    except (ValueError, AttributeError) as error:
        raise CheckpointError("The adapter's metadata is not JSON; save it again.") from error
    return config if {"r", "lora_alpha"} <= config.keys() else None


def _scale(metadata: dict | None, alpha: float | None, rank: int | None) -> float:
    if rank is None:
        return 1.0
    if alpha is not None:
        return alpha / rank
    if metadata is None:
        return 1.0
    return metadata["lora_alpha"] / (math.sqrt(rank) if metadata.get("use_rslora") else rank)


def _parts(header: Header) -> dict[str, dict[str, str]]:
    """Module -> {tensor's name: key}. Raises LTX2Error unless every key belongs to a layer."""
    parts: dict[str, dict[str, str]] = {}
    strange = []
    for key in header.tensors:
        split = _split(key)
        module = module_name(split[0]) if split else None
        if module is None:
            strange.append(key)
        else:
            parts.setdefault(module, {})[split[1]] = key
    if not any(p.keys() & NAMES for p in parts.values()):
        raise LTX2Error(f"{header.path.name} holds no LoRA layers that this pack knows; choose a LoRA in original, diffusers or kohya naming.")
    if strange:
        raise LTX2Error(f"{header.path.name} has keys that are no part of an LTX-2 LoRA, the first is {strange[0]}; choose another adapter.")
    for module, keys in parts.items():
        if not is_whole(frozenset(keys) - {"alpha"}):
            raise LTX2Error(f"{header.path.name}: layer {module} has only a part of its matrices ({', '.join(sorted(keys))}); save the adapter again.")
    return parts


def _check_shapes(header: Header, module: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises LTX2Error when two factors can't be multiplied."""
    pairs = (("lora_B.weight", "lora_A.weight"), ("lokr_w1_a", "lokr_w1_b"), ("lokr_w2_a", "lokr_w2_b"), ("hada_w1_a", "hada_w1_b"), ("hada_w2_a", "hada_w2_b"))
    for a, b in pairs:
        if a in shapes and (len(shapes[a]) != 2 or len(shapes[b]) != 2 or shapes[a][1] != shapes[b][0]):
            raise LTX2Error(f"{header.path.name}: layer {module} has matrices {shapes[b]} and {shapes[a]} that do not fit; save it again.")


def load_adapter(path: str | os.PathLike, family: str = "2.0") -> Adapter:
    """Read a LoRA, DoRA, LoKr or LoHa file of any of the three namings, alpha folded into one factor.

    Raises:
        LTX2Error: not an adapter, of another family, or a layer that is not this model's; says which.
    """
    header = read_header(path)
    made_for = header.metadata.get("ltx2_family")
    if made_for and made_for != family:
        raise LTX2Error(f"{header.path.name} was trained for LTX-2 {made_for}; this model is LTX-2 {family}. Choose an adapter for {family}.")
    stored = _metadata_scale(header.metadata)
    layers = {}
    with torch.inference_mode(False), safe_open(header.path, framework="pt") as file:
        for module, keys in _parts(header).items():
            tensors = {name: file.get_tensor(key).clone() for name, key in keys.items()}
            alpha = float(tensors.pop("alpha")) if "alpha" in tensors else None
            shapes = {name: tuple(t.shape) for name, t in tensors.items()}
            _check_shapes(header, module, shapes)
            layers[module] = from_tensors(tensors, _scale(stored, alpha, alpha_rank(shapes)))
    return Adapter(header.path.stem, layers, made_for, dict(header.metadata))
