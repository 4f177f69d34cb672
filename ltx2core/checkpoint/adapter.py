"""Adapter files: read in the original, diffusers and kohya namings, written in the one that every reader agrees on.

Written by default: ``diffusion_model.<original module>.<tensor>`` with alpha/rank multiplied into one factor and no
``.alpha`` keys, because some readers ignore alpha and others take it as rank (measured).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import LTX2Error
from ..files import atomic_path, sort_header
from .adapter_family import family_of
from .adapter_layers import DORA_NAMES, NAMES, DoRALayer, Layer, LoRALayer, MagnitudeDoRALayer, alpha_rank, from_tensors, is_whole
from .adapter_names import NAMINGS, WRITERS, is_text_layer, module_name, split_key
from .header import CheckpointError, Header, read_header


# What training divided by the rank and multiplied into a factor; for people only, since readers know other names.
FOLDED_ALPHA = "lora_alpha_folded"


@dataclass(frozen=True)
class Adapter:
    """Changes of linear layers, scale folded in.

    layers: diffusers module name -> a record of ``adapter_layers``; a pair (down, up) is taken for a LoRA's.
    left_out: layers of the file that lie in the text connectors, whose features are made without adapters.
    """

    name: str
    layers: Mapping[str, Layer]
    family: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        layers = {m: LoRALayer(*layer) if type(layer) is tuple else layer for m, layer in self.layers.items()}
        object.__setattr__(self, "layers", layers)

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(sorted({layer.rank for layer in self.layers.values()}))

    def state(self) -> dict[str, Tensor]:
        """{module}.{tensor} in diffusers names, such as {module}.lora_A.weight."""
        return {f"{m}.{k}": t for m, layer in self.layers.items() for k, t in layer.tensors().items()}


def _with_alphas(adapter: Adapter, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kohya's readers take a missing alpha for 1 or for the rank; equal to the rank it means a scale of 1 to all."""
    alphas = {}
    for module, layer in adapter.layers.items():
        rank = alpha_rank({name: tuple(t.shape) for name, t in layer.tensors().items()})
        if rank is not None:
            alphas[WRITERS["kohya"](module, "alpha")] = torch.tensor(float(rank))
    return {**state, **alphas}


def _check_naming(adapter: Adapter, naming: str) -> None:
    if naming not in NAMINGS:
        raise LTX2Error(f"The naming {naming!r} is not known; choose one of {', '.join(NAMINGS)}.")
    other = next((layer for layer in adapter.layers.values() if not isinstance(layer, LoRALayer)), None)
    by_magnitude = isinstance(other, MagnitudeDoRALayer)
    if by_magnitude and naming != "diffusers":
        raise LTX2Error(f"{adapter.name} is a DoRA in the form of peft and diffusers, which depends on the base weights; it acts in Apply LTX-2 Adapters, or choose the naming diffusers.")
    if naming == "diffusers" and isinstance(other, DoRALayer) and not by_magnitude:
        raise LTX2Error(f"{adapter.name} is a DoRA, whose form in diffusers depends on the base weights; choose the naming original or kohya.")
    if naming == "diffusers" and other is not None and not by_magnitude:
        kind = type(other).__name__.removesuffix("Layer")
        raise LTX2Error(f"diffusers reads no {kind}, which {adapter.name} is; choose the naming original or kohya, or resize it to a LoRA first.")


def adapter_tensors(adapter: Adapter, dtype: torch.dtype, naming: str = "original") -> dict[str, Tensor]:
    """Every tensor of ``adapter`` under its key in ``naming``, on the CPU in ``dtype``, scale folded in.

    Raises:
        LTX2Error: a naming that is not known, or that cannot hold this kind of adapter.
    """
    _check_naming(adapter, naming)
    state = {WRITERS[naming](m, k): t.detach().to("cpu", dtype).contiguous() for m, layer in adapter.layers.items() for k, t in layer.tensors().items()}
    return _with_alphas(adapter, state) if naming == "kohya" else state


def save_adapter(path: str | os.PathLike, adapter: Adapter, dtype: torch.dtype = torch.bfloat16, naming: str = "original") -> Path:
    """Write ``adapter`` atomically; ``original`` is ComfyUI's and Lightricks' naming.

    Raises:
        LTX2Error: a naming that is not known, or that cannot hold this kind of adapter.
    """
    path = Path(path)
    state = adapter_tensors(adapter, dtype, naming)
    # The scale is folded in, so what another writer said about alpha no longer holds.
    metadata = {"format": "pt", **{k: v for k, v in adapter.metadata.items() if k != "lora_adapter_metadata"}}
    if adapter.family:
        metadata["ltx2_family"] = adapter.family
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata=metadata)
        sort_header(temporary)
    return path


def stored_scale(metadata: Mapping[str, str]) -> dict | None:
    """alpha/rank as diffusers and peft store it beside the tensors; None when absent."""
    blob = metadata.get("lora_adapter_metadata")
    if not blob:
        return None
    try:
        config = {k.removeprefix("transformer."): v for k, v in json.loads(blob).items()}
    except (ValueError, AttributeError) as error:
        raise CheckpointError("The adapter's metadata is not JSON; save it again.") from error
    return config if {"r", "lora_alpha"} <= config.keys() else None


def _stored_alpha(stored: Mapping, module: str) -> float:
    """peft's alpha of a module: of the pattern that its name ends with, else the common one."""
    patterns = stored.get("alpha_pattern") or {}
    return next((a for name, a in patterns.items() if module == name or module.endswith("." + name)), stored["lora_alpha"])


def _scale(stored: Mapping | None, module: str, alpha: float | None, rank: int | None) -> float:
    if rank is None:
        return 1.0
    if alpha is not None:
        return alpha / rank
    if stored is None:
        return 1.0
    return _stored_alpha(stored, module) / (math.sqrt(rank) if stored.get("use_rslora") else rank)


def parts_of(header: Header) -> dict[str, dict[str, str]]:
    """Module -> {tensor's name: key}. Raises LTX2Error unless every key belongs to a layer."""
    parts: dict[str, dict[str, str]] = {}
    strange = []
    for key in header.tensors:
        split = split_key(key)
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
    for name in DORA_NAMES & shapes.keys():
        if shapes[name] not in ((shapes["lora_B.weight"][0], 1), (shapes["lora_B.weight"][0],)):
            raise LTX2Error(f"{header.path.name}: layer {module} has a {name} of shape {shapes[name]}, and one number for each output is read; train it with the sizes of outputs (wd_on_output).")


def _check_family(header: Header, family: str | None) -> str | None:
    """What the adapter was made for, None when the file does not say. Raises LTX2Error when it is not ``family``."""
    found = family_of(header)
    if found and family and found.name != family:
        raise LTX2Error(
            f"{header.path.name} was trained for LTX-2 {found.name} (by {found.said_by}); this model is LTX-2 {family}. Choose an adapter for {family}."
        )
    return found.name if found else None


def load_adapter(path: str | os.PathLike, family: str | None = "2.0") -> Adapter:
    """Read a LoRA, DoRA, LoKr or LoHa file of any of the three namings, alpha folded into one factor.

    ``family`` None takes an adapter of any.

    Raises:
        LTX2Error: not an adapter, of another family, or a layer that is not this model's; says which.
    """
    header = read_header(path)
    made_for = _check_family(header, family)
    stored = stored_scale(header.metadata)
    layers = {}
    with torch.inference_mode(False), safe_open(header.path, framework="pt") as file:
        parts = parts_of(header)
        left_out = tuple(module for module in parts if is_text_layer(module))
        if len(left_out) == len(parts):
            raise LTX2Error(f"{header.path.name} changes only the text connectors, which this pack does not adapt; choose another adapter.")
        for module, keys in parts.items():
            if module in left_out:
                continue
            tensors = {name: file.get_tensor(key).clone() for name, key in keys.items()}
            alpha = float(tensors.pop("alpha")) if "alpha" in tensors else None
            shapes = {name: tuple(t.shape) for name, t in tensors.items()}
            _check_shapes(header, module, shapes)
            layers[module] = from_tensors(tensors, _scale(stored, module, alpha, alpha_rank(shapes)))
    return Adapter(header.path.stem, layers, made_for, dict(header.metadata), left_out)
