"""What an adapter file says about itself; of its tensors only the alphas are read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from safetensors import safe_open

from ..errors import LTX2Error
from .adapter import FOLDED_ALPHA, parts_of, stored_scale
from .adapter_family import family_of
from .adapter_layers import kind_of
from .adapter_names import naming_of
from .header import Header, read_header

# Lightricks' loader and ComfyUI read the first; Lightricks' trainer writes the second as well, trainers of kohya's kind the third.
_SPATIAL = ("reference_downscale_factor", "reference_spatial_scale_factor", "ss_reference_downscale_factor")
_TEMPORAL = ("reference_temporal_scale_factor",)


@dataclass(frozen=True)
class AdapterInfo:
    """targets: layer within a block, or top layer -> how often; alphas: as stored, empty when the file has none.

    folded_alpha: what training multiplied into the matrices (over the rank), where the file says it.

    reference: how many times larger and longer a clip is than its reference video; None when the file names no factor.
    """

    file: str
    kind: str
    naming: str
    layers: int
    ranks: tuple[int, ...]
    alphas: tuple[float, ...]
    folded_alpha: str | None
    targets: Mapping[str, int]
    blocks: int
    parameters: int
    nbytes: int
    dtypes: tuple[str, ...]
    family: str | None
    family_said_by: str | None
    reference: tuple[int, int] | None

    def to_dict(self) -> dict:
        return asdict(self)


def _factor(metadata: Mapping[str, str], keys: tuple[str, ...]) -> int | None:
    text = next((metadata[k] for k in keys if k in metadata), None)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if value < 1 or value != int(value):
        raise LTX2Error(f"The adapter's {keys[0]} is {text!r}, not a whole number of at least 1; mend its metadata.")
    return int(value)


def reference_factors(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """(spatial, temporal) of an IC-LoRA's reference videos; None when the metadata name neither.

    Raises:
        LTX2Error: a factor that is no whole number of at least 1.
    """
    spatial, temporal = _factor(metadata, _SPATIAL), _factor(metadata, _TEMPORAL)
    return None if spatial is None and temporal is None else (spatial or 1, temporal or 1)


def _alphas(header: Header, parts: Mapping[str, Mapping[str, str]]) -> tuple[float, ...]:
    keys = [keys["alpha"] for keys in parts.values() if "alpha" in keys]
    with safe_open(header.path, framework="pt") as file:
        found = {float(file.get_tensor(key)) for key in keys}
    stored = stored_scale(header.metadata)
    if stored and not found:
        found |= {float(a) for a in ((stored.get("alpha_pattern") or {}).values() or [stored["lora_alpha"]])}
    return tuple(sorted(found))


def _target(module: str) -> str:
    pieces = module.split(".")
    return ".".join(pieces[2:]) if pieces[0] == "transformer_blocks" else module


def inspect_adapter(path: str | os.PathLike) -> AdapterInfo:
    """Raises LTX2Error when the file is no adapter that this pack reads."""
    header = read_header(path)
    parts = parts_of(header)
    shapes = {m: {n: header.tensors[k].shape for n, k in keys.items() if n != "alpha"} for m, keys in parts.items()}
    kinds = {m: kind_of(s) for m, s in shapes.items()}
    family = family_of(header)
    return AdapterInfo(
        file=header.path.name,
        kind=" and ".join(sorted({kind for kind, _ in kinds.values()})),
        naming=" and ".join(sorted({naming_of(next(iter(keys.values()))) for keys in parts.values()})),
        layers=len(parts),
        ranks=tuple(sorted({rank for _, rank in kinds.values()})),
        alphas=_alphas(header, parts),
        folded_alpha=header.metadata.get(FOLDED_ALPHA),
        targets=dict(Counter(_target(m) for m in parts)),
        blocks=len({m.split(".")[1] for m in parts if m.startswith("transformer_blocks.")}),
        parameters=sum(t.numel for t in header.tensors.values()),
        nbytes=sum(t.nbytes for t in header.tensors.values()),
        dtypes=tuple(sorted({t.dtype for t in header.tensors.values()})),
        family=family.name if family else None,
        family_said_by=family.said_by if family else None,
        reference=reference_factors(header.metadata),
    )


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"


def _alpha_in_words(info: AdapterInfo) -> str:
    if info.alphas:
        return _numbers(info.alphas)
    return "folded in" if info.folded_alpha is None else f"{info.folded_alpha}, folded in"


def describe_adapter(info: AdapterInfo) -> str:
    """Lines for a person."""
    family = f"LTX-2 {info.family} (by {info.family_said_by})" if info.family else "not said in the file"
    lines = [
        f"{info.file}: {info.kind}, {info.naming} naming, {info.nbytes / 2**20:.1f} MiB {'/'.join(info.dtypes)}",
        f"trained for: {family}",
        f"rank {_numbers(info.ranks)}, alpha {_alpha_in_words(info)}",
        f"{info.layers} layers in {info.blocks} blocks, {info.parameters:,} numbers",
    ]
    if info.reference:
        spatial, temporal = info.reference
        lines.append(f"needs a reference video: 1/{spatial} of the clip's size, every {temporal}. frame" if temporal > 1 else f"needs a reference video: 1/{spatial} of the clip's size")
    return "\n".join([*lines, *(f"  {name} x {count}" for name, count in sorted(info.targets.items()))])
