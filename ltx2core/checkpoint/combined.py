"""A combined LTX-2 file, opened by its header alone."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property

from .dequantize import quantised_layers
from .family import Family, detect_family, require_supported
from .header import CheckpointError, Header, TensorInfo, read_header

# Bytes of each tensor that join a fingerprint: enough that any retrained weight shows, cheap on a 40 GB file.
_SAMPLE_BYTES = 4096


@dataclass(frozen=True)
class Checkpoint:
    """Header and family of a combined file; weights are read by ``ltx2core.models``."""

    header: Header
    family: Family

    @property
    def path(self):
        return self.header.path

    @property
    def config(self) -> dict:
        return self.header.config

    @cached_property
    def flavour(self) -> str:
        """``dev``, ``dev-fp8`` or ``dev-fp4`` by how the transformer's weights are stored."""
        formats = {layer.format for layer in quantised_layers(self.header, self.tensors("transformer")).values()}
        return "dev-fp4" if "nvfp4" in formats else "dev-fp8" if formats else "dev"

    def tensors(self, component: str) -> dict[str, TensorInfo]:
        """File keys of one component. Raises CheckpointError when the file has none of them."""
        keymap = self.family.components[component]
        found = {k: v for k, v in self.header.tensors.items() if keymap.owns(k)}
        if not found:
            raise CheckpointError(f"{self.path.name} has no {component.replace('_', ' ')}; choose the combined LTX-2 file, not a part of it.")
        return found

    def fingerprint(self, component: str) -> str:
        """sha256 over names, types, shapes and the first 4 KiB of every tensor of ``component``."""
        return fingerprint(self.header, self.tensors(component))


def fingerprint(header: Header, tensors: dict[str, TensorInfo]) -> str:
    digest = hashlib.sha256()
    with header.path.open("rb") as f:
        for name, info in sorted(tensors.items()):
            digest.update(f"{name}|{info.dtype}|{info.shape}".encode())
            f.seek(header.data_start + info.begin)
            digest.update(f.read(min(_SAMPLE_BYTES, info.nbytes)))
    return digest.hexdigest()


def open_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Open a combined LTX-2 19B file for training and sampling; reads only the header.

    Raises:
        CheckpointError: truncated, not LTX-2, or of a family that is recognised but not supported.
    """
    header = read_header(path)
    family = detect_family(header)
    require_supported(family, header)
    if "transformer" not in header.config:
        raise CheckpointError(f"{header.path.name} carries no model configuration in its header; use the file as Lightricks published it.")
    return Checkpoint(header, family)
