"""What a sample was made with: kept inside the file, and named by a key so that it is not made twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import torch
from torch import Tensor

from ..checkpoint.adapter import Adapter
from ..errors import LTX2Error

RECIPE_TAG = "ltx2_recipe"
# Raised when the same recipe gives other numbers, so that older files are not taken for new ones.
RECIPE_VERSION = 2
_SAMPLE_BYTES = 4096


@dataclass(frozen=True)
class AdapterUse:
    name: str
    strength: float
    digest: str


@dataclass(frozen=True)
class Recipe:
    """prompt, negative: texts; *_key: of their features. given: what else the run was given, by digests.

    settings: those of ``SampleSettings`` with the cell's own seed.
    """

    label: str
    prompt: str
    prompt_key: str
    negative: str
    negative_key: str
    checkpoint: str
    checkpoint_digest: str
    adapters: tuple[AdapterUse, ...]
    settings: Mapping[str, object]
    given: Mapping[str, object]
    codec: str = "h264"
    version: int = RECIPE_VERSION

    @property
    def key(self) -> str:
        """sha256 over all that changes the numbers; texts and names of files do not."""
        facts = asdict(self)
        for name in ("label", "prompt", "negative", "checkpoint"):
            del facts[name]
        facts["adapters"] = [[a.strength, a.digest] for a in self.adapters]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps({"key": self.key, **asdict(self)}, ensure_ascii=False)


def tensor_digest(*tensors: Tensor) -> str:
    """sha256 over shapes and all values."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(repr((tuple(tensor.shape), str(tensor.dtype))).encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def adapter_digest(adapter: Adapter) -> str:
    """sha256 over names, shapes and the first 4 KiB of every matrix: training changes them all."""
    digest = hashlib.sha256()
    for name, tensor in sorted(adapter.state().items()):
        digest.update(f"{name}|{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().flatten()[: _SAMPLE_BYTES // 4].cpu().float().numpy().tobytes())
    return digest.hexdigest()


def adapter_uses(pairs: Sequence[tuple[Adapter, float]]) -> tuple[AdapterUse, ...]:
    return tuple(AdapterUse(a.name, float(strength), adapter_digest(a)) for a, strength in pairs)


def read_tags(path: str | os.PathLike) -> dict[str, str]:
    """The container's tags.

    Raises:
        LTX2Error: unreadable.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            return dict(container.metadata)
    except (OSError, av.error.FFmpegError) as error:
        raise LTX2Error(f"{Path(path).name} cannot be read ({error}); give a video that this pack wrote.") from error


def read_recipe(path: str | os.PathLike) -> dict | None:
    """The recipe inside a file, with its ``key``; None where there is none."""
    text = read_tags(path).get(RECIPE_TAG)
    return None if text is None else json.loads(text)
