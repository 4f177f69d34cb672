"""A folder of safetensors files named by content keys, each with a checksum of its tensors."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import LTX2Error
from ..files import atomic_path
from .digests import Ledger


class DamagedEntry(LTX2Error):
    """A cache file whose bytes are not those that were written."""


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(tensors[name].contiguous().view(torch.uint8).numpy(), value)
    return f"{value:08x}"


@dataclass(frozen=True)
class Store:
    """Entries lie at ``root/kind/ab/abcdef….safetensors``; the two letters keep folders small.

    With a ``ledger`` an entry whose file has not changed since its bytes were checked is not checked again.
    """

    root: Path
    ledger: Ledger | None = None

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key[:2] / f"{key}.safetensors"

    def sound(self, kind: str, key: str) -> bool:
        """Whether the entry is there and its bytes are those that were written."""
        path = self.path(kind, key)
        if not path.is_file():
            return False
        if self.ledger and self.ledger.is_verified(path):
            return True
        try:
            self.read(kind, key)
        except DamagedEntry:
            return False
        if self.ledger:
            self.ledger.set_verified(path)
        return True

    def write(self, kind: str, key: str, tensors: Mapping[str, Tensor], info: Mapping[str, object]) -> Path:
        """Atomic; ``info`` is kept as JSON beside the tensors."""
        tensors = {k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}
        path = self.path(kind, key)
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"checksum": _checksum(tensors), "info": json.dumps(info, ensure_ascii=False)})
        if self.ledger:
            self.ledger.set_verified(path)
        return path

    def info(self, kind: str, key: str) -> dict:
        """What was written beside the tensors, which are not read. Raises DamagedEntry as ``read``."""
        path = self.path(kind, key)
        try:
            with safe_open(path, framework="pt") as file:
                return json.loads((file.metadata() or {})["info"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise DamagedEntry(f"The cache file {path} is damaged or gone ({error}); cache the dataset again, only this entry is rebuilt.") from error

    def read(self, kind: str, key: str) -> tuple[dict[str, Tensor], dict]:
        """Tensors and info. Raises DamagedEntry, which names the file and says what to do."""
        path = self.path(kind, key)
        try:
            with torch.inference_mode(False), safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {k: file.get_tensor(k).clone() for k in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise DamagedEntry(f"The cache file {path} is damaged or gone ({error}); cache the dataset again, only this entry is rebuilt.") from error
        if metadata.get("checksum") != _checksum(tensors):
            raise DamagedEntry(f"The cache file {path} is damaged: its checksum differs; cache the dataset again, only this entry is rebuilt.")
        return tensors, json.loads(metadata["info"])
