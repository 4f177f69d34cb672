"""Adapter files: read in the original, diffusers and kohya namings, written in the one that every reader agrees on.

Written: ``diffusion_model.<original module>.lora_A.weight`` and ``.lora_B.weight`` with alpha/rank multiplied into
``lora_B`` and no ``.alpha`` keys, because some readers ignore alpha and others take it as rank (measured).
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
from .header import CheckpointError, read_header
from .modules import linear_modules, to_diffusers, to_original

PREFIX = "diffusion_model."
# More blocks than any member of the family has; the table is names only.
_MOST_LAYERS = 64
_DOWN = (".lora_A.weight", ".lora_down.weight", ".lora_A.default.weight")
_UP = (".lora_B.weight", ".lora_up.weight", ".lora_B.default.weight")


@dataclass(frozen=True)
class Adapter:
    """A LoRA, scale folded in: the change of a layer's weight is ``up @ down`` at strength 1.

    layers: diffusers module name -> (down [rank, in], up [out, rank]).
    """

    name: str
    layers: Mapping[str, tuple[Tensor, Tensor]]
    family: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(sorted({down.shape[0] for down, _ in self.layers.values()}))

    def state(self) -> dict[str, Tensor]:
        """{module}.lora_A.weight / .lora_B.weight in diffusers names."""
        return {f"{m}.{k}.weight": t for m, pair in self.layers.items() for k, t in zip(("lora_A", "lora_B"), pair, strict=True)}


def save_adapter(path: str | os.PathLike, adapter: Adapter, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Write ``adapter`` in ComfyUI's and Lightricks' naming, atomically."""
    path = Path(path)
    state = {}
    for module, (down, up) in adapter.layers.items():
        base = PREFIX + to_original(module)
        state[f"{base}.lora_A.weight"] = down.detach().to("cpu", dtype).contiguous()
        state[f"{base}.lora_B.weight"] = up.detach().to("cpu", dtype).contiguous()
    metadata = {"format": "pt", **adapter.metadata}
    if adapter.family:
        metadata["ltx2_family"] = adapter.family
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata=metadata)
        sort_header(temporary)
    return path


def _split(key: str) -> tuple[str, str] | None:
    """(module part, "down" | "up" | "alpha") of a key; None for a key that is no part of a LoRA."""
    for role, endings in (("down", _DOWN), ("up", _UP), ("alpha", (".alpha",))):
        for ending in endings:
            if key.endswith(ending):
                return key.removesuffix(ending), role
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


def _scale(metadata: dict | None, alpha: float | None, rank: int) -> float:
    if alpha is not None:
        return alpha / rank
    if metadata is None:
        return 1.0
    return metadata["lora_alpha"] / (math.sqrt(rank) if metadata.get("use_rslora") else rank)


def load_adapter(path: str | os.PathLike, family: str = "2.0") -> Adapter:
    """Read a LoRA file of any of the three namings, alpha folded into ``up``.

    Raises:
        LTX2Error: not a LoRA, of another family, or a layer that is not this model's; says which.
    """
    header = read_header(path)
    made_for = header.metadata.get("ltx2_family")
    if made_for and made_for != family:
        raise LTX2Error(f"{header.path.name} was trained for LTX-2 {made_for}; this model is LTX-2 {family}. Choose an adapter for {family}.")
    parts: dict[str, dict[str, str]] = {}
    strange = []
    for key in header.tensors:
        split = _split(key)
        module = module_name(split[0]) if split else None
        if module is None:
            strange.append(key)
        else:
            parts.setdefault(module, {})[split[1]] = key
    if not any({"down", "up"} <= p.keys() for p in parts.values()):
        raise LTX2Error(f"{header.path.name} holds no LoRA layers that this pack knows; choose a LoRA in original, diffusers or kohya naming.")
    if strange:
        raise LTX2Error(f"{header.path.name} has keys that are no part of an LTX-2 LoRA, the first is {strange[0]}; choose another adapter.")
    stored = _metadata_scale(header.metadata)
    layers = {}
    with torch.inference_mode(False), safe_open(header.path, framework="pt") as file:
        for module, keys in parts.items():
            if not {"down", "up"} <= keys.keys():
                raise LTX2Error(f"{header.path.name}: layer {module} has only one of its two matrices; save the adapter again.")
            down, up = file.get_tensor(keys["down"]).clone(), file.get_tensor(keys["up"])
            if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
                raise LTX2Error(f"{header.path.name}: layer {module} has matrices {tuple(down.shape)} and {tuple(up.shape)} that do not fit; save it again.")
            alpha = float(file.get_tensor(keys["alpha"])) if "alpha" in keys else None
            scale = _scale(stored, alpha, down.shape[0])
            layers[module] = (down, up.clone() if scale == 1 else (up.float() * scale).to(up.dtype))
    return Adapter(header.path.stem, layers, made_for, dict(header.metadata))
