"""Activations that are cheap to carry and dear to compute wait in host memory between forward and backward.

Over a fast bus a block's attention result or inner feed-forward values come back sooner than they are computed again. The
copies run on a stream of their own, two blocks ahead and two behind.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..memory.streams import stream_of

_DEPTH = 2

Tensors = dict[str, Tensor]


_ALWAYS = frozenset({"inner", "attention"})
# With so many tokens a sample, attention's share leaves the bus room for more (measured over PCIe 5: benchmarks/results).
_MANY_TOKENS = 4096
_QKV_EVERY = 3


class Shelf:
    """``put`` in forward, block after block; ``take`` in backward, in reverse. On a processor it only holds them.

    Args:
        count: blocks that use it, the first ones of the model.
        results: False for the blocks' inputs alone, where the bus has other work.
    """

    def __init__(self, device: torch.device, count: int, results: bool = True):
        self._count, self._results = count, results
        self._stream = stream_of(device, "activations") if device.type == "cuda" else None
        self._held: dict[int, Tensors] = {}
        self._shapes: dict[int, dict[str, tuple[torch.Size, torch.dtype]]] = {}
        self._copied: dict[int, torch.cuda.Event] = {}
        self._host: dict[tuple[str, int], list[Tensor]] = {}

    def wanted(self, index: int, tokens: int) -> frozenset[str]:
        """Names of what block ``index`` brings beside its input, of samples of ``tokens``."""
        if not self._results:
            return frozenset()
        if tokens < _MANY_TOKENS:
            return _ALWAYS
        return _ALWAYS | ({"text", "qkv"} if index % _QKV_EVERY == 0 else {"text"})

    def _buffer(self, name: str, index: int, nbytes: int) -> Tensor:
        """Page-locked, of a size that has been asked for before or larger; for all blocks at once, as a captured step may not allocate."""
        sizes = [size for known, size in self._host if known == name and size >= nbytes]
        key = (name, min(sizes, default=nbytes))
        if key not in self._host:
            self._host[key] = [torch.empty(nbytes, dtype=torch.uint8, pin_memory=True) for _ in range(max(0, self._count - _DEPTH))]
        return self._host[key][index][:nbytes]

    def put(self, index: int, tensors: Tensors) -> None:
        """Of block ``index``; the current stream has been given all work that makes them."""
        self._held[index] = tensors
        if self._stream is None:
            return
        before = index - _DEPTH
        if before >= 0 and before in self._copied:
            torch.cuda.current_stream().wait_event(self._copied.pop(before))
            del self._held[before]
        if index >= self._count - _DEPTH:
            return  # wanted again at once
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for name, tensor in tensors.items():
                self._buffer(name, index, tensor.nbytes).copy_(tensor.flatten().view(torch.uint8), non_blocking=True)
            self._copied[index] = torch.cuda.Event()
            self._copied[index].record(self._stream)
        self._shapes[index] = {n: (t.shape, t.dtype) for n, t in tensors.items()}

    def _fetch(self, index: int) -> None:
        device, shapes = self._stream.device, self._shapes.pop(index)
        tensors = {n: torch.empty(shape, dtype=dtype, device=device) for n, (shape, dtype) in shapes.items()}
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for name, tensor in tensors.items():
                tensor.flatten().view(torch.uint8).copy_(self._buffer(name, index, tensor.nbytes), non_blocking=True)
            self._copied[index] = torch.cuda.Event()
            self._copied[index].record(self._stream)
        self._held[index] = tensors

    def take(self, index: int) -> Tensors:
        """Of block ``index``, once; the blocks before it are sent for."""
        if self._stream is None:
            return self._held.pop(index)
        if index not in self._held:
            self._fetch(index)
        if index in self._copied:
            torch.cuda.current_stream().wait_event(self._copied.pop(index))
        tensors = self._held.pop(index)
        if index - _DEPTH in self._shapes:
            self._fetch(index - _DEPTH)
        return tensors
