"""A file that is written anew while its folder is cached, and what a person is told of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ltx2core.cache import latents
from ltx2core.cache.build import build_cache
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.data.scan import DatasetIndex
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.text.source import open_text_encoder
from ltx2core.tiny import TinySize, write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma


class _Listener(ConsoleReporter):
    def __init__(self):
        super().__init__(quiet=True)
        self.said: list[str] = []

    def message(self, text, level="info"):
        self.said.append(text)


def while_cached(path: Path, folder: Path, index: DatasetIndex, write: Callable[[], object]) -> tuple[tuple[str, ...], str]:
    """Caches ``index``, and calls ``write`` between the reading of ``path`` and its encoding. The files that are cached, and the sentence on ``path``."""
    models, listener, read = folder / "models", _Listener(), latents.read_clip
    models.mkdir()
    sources = open_checkpoint(write_tiny_checkpoint(models / "tiny.safetensors", TinySize(layers=1))), open_text_encoder(write_tiny_gemma(models / "gemma.safetensors"))

    def read_and_write(clip, *rest):
        found = read(clip, *rest)
        if Path(clip.path) == path:
            write()
        return found

    latents.read_clip = read_and_write
    try:
        cache = build_cache(index, *sources, folder / "cache", residency=PlainResidency(torch.device("cpu")), reporter=listener, stop=StopFlag())
    finally:
        latents.read_clip = read
    return tuple(sorted(clip.source for clip in cache.clips)), next((text for text in listener.said if path.name in text), "")
