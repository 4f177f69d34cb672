"""The header of a safetensors file, read without touching a tensor.

Format: 8 bytes little-endian header length N, N bytes of JSON
``{name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {str: str}}``,
then the data. Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..errors import LTX2Error

# Longest header that the safetensors library itself accepts.
MAX_HEADER_BYTES = 100_000_000

DTYPE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "C64": 8,
    "F32": 4, "I32": 4, "U32": 4,
    "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


class CheckpointError(LTX2Error):
    """A weights file that cannot be used; the message names the file and what to do."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the header declares it. ``begin``/``end`` are byte offsets in the data part."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class Header:
    """Names, shapes and metadata of a safetensors file, plus where its data begins."""

    path: Path
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    data_start: int
    file_size: int
    digest: str = field(repr=False)

    @cached_property
    def config(self) -> dict:
        """The JSON under metadata key ``config``; empty when the file carries none."""
        raw = self.metadata.get("config")
        if not raw:
            return {}
        try:
            config = json.loads(raw)
        except ValueError as error:
            raise CheckpointError(f"{self.path.name}: its header's 'config' is not JSON ({error}); download the file again.") from error
        if not isinstance(config, dict):
            raise CheckpointError(f"{self.path.name}: its header's 'config' is not an object; download the file again.")
        return config

    def with_prefix(self, prefix: str) -> dict[str, TensorInfo]:
        return {k: v for k, v in self.tensors.items() if k.startswith(prefix)}


def _entry(path: Path, name: str, raw: object, data_size: int) -> TensorInfo:
    try:
        dtype, shape, (begin, end) = raw["dtype"], tuple(raw["shape"]), raw["data_offsets"]
        ok = all(isinstance(n, int) and n >= 0 for n in (*shape, begin, end))
    except (TypeError, KeyError, ValueError):
        ok = False
    if not ok or begin > end:
        raise CheckpointError(f"{path.name}: header entry {name!r} is malformed; download the file again.")
    if end > data_size:
        raise CheckpointError(
            f"{path.name} is truncated: tensor {name!r} ends at byte {end} of its data but only {data_size} are there; "
            "download the file again."
        )
    if dtype in DTYPE_BYTES and math.prod(shape) * DTYPE_BYTES[dtype] != end - begin:
        raise CheckpointError(f"{path.name}: tensor {name!r} has {end - begin} bytes, its shape {shape} in {dtype} needs another count; download the file again.")
    return TensorInfo(dtype, shape, begin, end)


def _parsed(path: Path, blob: bytes) -> tuple[dict[str, object], dict[str, str]]:
    """Entries and metadata of a header's JSON."""
    try:
        raw = json.loads(blob)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name} is not a .safetensors file: its header is not JSON; download it again.") from error
    metadata = (raw.pop("__metadata__", None) or {}) if isinstance(raw, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"{path.name} is not a .safetensors file: its header is no table of tensors; download it again.")
    return raw, metadata


def _check_cover(path: Path, tensors: dict[str, TensorInfo], data_size: int) -> None:
    """Tensors lie one after another and fill the file, as the format asks: none overlaps, nothing is hidden between them."""
    at = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != at:
            raise CheckpointError(f"{path.name}: tensor {name!r} begins at byte {info.begin} of the data and should at {at}; download the file again.")
        at = info.end
    if at != data_size:
        raise CheckpointError(f"{path.name} has {data_size} bytes of data and its header names {at}; download the file again.")


def _check_types(path: Path, tensors: dict[str, TensorInfo]) -> None:
    """Types beyond DTYPE_BYTES are for the library to know: a word that it does not know keeps it from opening any tensor."""
    strange = next((name for name, info in tensors.items() if info.dtype not in DTYPE_BYTES), None)
    if strange is None:
        return
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise CheckpointError(
            f"{path.name}: tensor {strange!r} is of type {tensors[strange].dtype}, which safetensors cannot open; download the file again, or update safetensors."
        ) from error


def read_header(path: str | os.PathLike) -> Header:
    """Read and check the header of ``path``.

    Raises:
        CheckpointError: no such file, not safetensors, truncated, an entry that does not fit its bytes, or bytes that are
            nobody's.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"No file at {path}; check the path, or put the file there.")
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(8)
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            raise CheckpointError(f"{path.name} is not a whole .safetensors file (or is truncated in its header); download it again.")
        blob = f.read(length)
    raw, metadata = _parsed(path, blob)
    data_size = size - 8 - length
    tensors = {name: _entry(path, name, entry, data_size) for name, entry in raw.items()}
    _check_cover(path, tensors, data_size)
    _check_types(path, tensors)
    return Header(path, tensors, metadata, 8 + length, size, hashlib.sha256(blob).hexdigest())
