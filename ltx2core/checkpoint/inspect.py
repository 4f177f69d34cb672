"""What a combined file is, in one record: ``python -m ltx2core inspect FILE``."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping

from .combined import Checkpoint
from .dequantize import companion_keys, logical_shape, quantised_layers
from .family import detect_family
from .header import Header, TensorInfo, read_header


def inspect_checkpoint(path: str | os.PathLike) -> dict:
    """Version, flavour, and per component: parameters, bytes and element types. Works for families not supported yet."""
    header = read_header(path)
    checkpoint = Checkpoint(header, detect_family(header))
    components, seen = {}, set()
    for name, keymap in checkpoint.family.components.items():
        tensors = {k: v for k, v in header.tensors.items() if keymap.owns(k)}
        seen.update(tensors)
        if tensors:
            types = Counter()
            for info in tensors.values():
                types[info.dtype] += info.nbytes
            components[name] = {
                "tensors": len(tensors),
                "parameters": _parameters(header, tensors),
                "bytes": sum(v.nbytes for v in tensors.values()),
                "dtypes": dict(sorted(types.items())),
            }
    return {
        "file": str(header.path),
        "bytes": header.file_size,
        "version": checkpoint.family.name,
        "model_version": header.metadata.get("model_version"),
        "family": checkpoint.family.label,
        "supported": checkpoint.family.supported,
        "flavour": checkpoint.flavour,
        "text_encoder": checkpoint.family.text_encoder,
        "components": components,
        "other_keys": sorted(set(header.tensors) - seen)[:20],
    }


def _parameters(header: Header, tensors: Mapping[str, TensorInfo]) -> int:
    """Numbers of the model itself: two a byte where four bits are stored, and no scales."""
    layers, scales = quantised_layers(header, tensors), companion_keys(header)
    return sum(math.prod(logical_shape(header, key, layers.get(key))) for key in tensors if key not in scales)


def describe(record: dict) -> str:
    lines = [
        f"{record['family']} (version {record['version']}), flavour {record['flavour']}, {record['bytes'] / 2**30:.2f} GiB, text encoder {record['text_encoder']}"
        + ("" if record["supported"] else " - recognised, not supported by this pack"),
    ]
    for name, c in record["components"].items():
        types = ", ".join(f"{t} {b / 2**20:.1f} MiB" for t, b in c["dtypes"].items())
        lines.append(f"  {name:<13} {c['parameters'] / 1e6:>10.2f} M parameters  {c['tensors']:>5} tensors  {types}")
    if record["other_keys"]:
        lines.append(f"  not part of the model: {', '.join(record['other_keys'])}")
    return "\n".join(lines)
