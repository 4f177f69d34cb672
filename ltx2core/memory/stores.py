"""Where the frozen weights of the blocks lie while a step runs: on the device, or in host memory behind a ring of buffers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .host import HostBlock
from .streams import stream_of

Tensors = dict[str, Tensor]
_ALIGN = 256  # bytes; what the fastest copies and matrix kernels want


class WeightStore(Protocol):
    def acquire(self, index: int, following: Sequence[int]) -> Tensors:
        """Block ``index``'s tensors on the device, ready for the current stream; ``following`` are wanted next."""
        ...

    def release(self, index: int) -> None:
        """The current stream has been given all work that reads block ``index``."""
        ...

    def begin(self) -> None:
        """A step that stands for itself begins, as a captured one must."""
        ...

    def end(self) -> None:
        """It ends: the current stream waits for all copies."""
        ...

    def forget(self) -> None:
        """What the buffers hold is no longer known: a captured step was run."""
        ...


@dataclass
class ResidentStore:
    """All blocks on the device."""

    blocks: list[Tensors]

    def acquire(self, index: int, following: Sequence[int] = ()) -> Tensors:
        return self.blocks[index]

    def release(self, index: int) -> None:
        """Nothing to do."""

    def begin(self) -> None:
        """Nothing to do."""

    def end(self) -> None:
        """Nothing to do."""

    def forget(self) -> None:
        """Nothing to forget."""


@dataclass(frozen=True)
class _Layout:
    """Places of a block's tensors in one flat buffer of bytes."""

    places: dict[str, tuple[int, torch.Size, torch.dtype]]
    nbytes: int

    @classmethod
    def of(cls, tensors: Tensors) -> _Layout:
        places, offset = {}, 0
        for name, tensor in tensors.items():
            places[name] = (offset, tensor.shape, tensor.dtype)
            offset += -(-tensor.nbytes // _ALIGN) * _ALIGN
        return cls(places, offset)

    def views(self, flat: Tensor) -> Tensors:
        return {n: flat[o : o + s.numel() * d.itemsize].view(d).view(s) for n, (o, s, d) in self.places.items()}


@dataclass
class _Slot:
    flat: Tensor
    views: Tensors
    block: int = -1


class _CardLane:
    """Copies on a stream of their own, each behind the last work that read the slot."""

    def __init__(self, device: torch.device, slots: int):
        self._stream, self._slots = stream_of(device, "weights"), slots
        self.begin()

    def begin(self) -> None:
        """New events, since those of a captured step mean nothing outside it; later copies wait for what the current stream has."""
        self._ready, self._done = ([torch.cuda.Event() for _ in range(self._slots)] for _ in range(2))
        self._stream.wait_stream(torch.cuda.current_stream())

    def end(self) -> None:
        torch.cuda.current_stream().wait_stream(self._stream)

    def fill(self, number: int, slot: _Slot, host: HostBlock) -> None:
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._done[number])
            host.copy_to(slot.flat)
            self._ready[number].record(self._stream)

    def wait(self, number: int) -> None:
        self._ready[number].wait(torch.cuda.current_stream())

    def read(self, number: int) -> None:
        self._done[number].record(torch.cuda.current_stream())


class _PlainLane:
    """Copies at once, on a processor."""

    def fill(self, number: int, slot: _Slot, host: HostBlock) -> None:
        host.copy_to(slot.flat)

    def wait(self, number: int) -> None:
        """The copy is over."""

    def read(self, number: int) -> None:
        """The reading is over."""

    def begin(self) -> None:
        """Nothing runs."""

    def end(self) -> None:
        """Nothing runs."""


class RingStore:
    """Blocks in host memory, pinned for a card, copied ahead on a stream of their own into ``slots`` device buffers.

    Nothing is ever copied back, since the weights are frozen. ``blocks`` are taken one by one and must have one layout.
    ``resident`` blocks stay on the device for good. On a processor the copies don't overlap.
    """

    def __init__(self, blocks: Iterable[Tensors], device: torch.device, slots: int = 3, resident: Sequence[int] = ()):
        self._resident: dict[int, Tensors] = {}
        self._host: dict[int, HostBlock] = {}
        self._slots: list[_Slot] = []
        for i, tensors in enumerate(blocks):
            if i in resident:
                self._resident[i] = {n: t.to(device) for n, t in tensors.items()}
                continue
            if len(self._slots) < slots:
                layout = _Layout.of(tensors)
                flat = torch.empty(layout.nbytes, dtype=torch.uint8, device=device)
                self._slots.append(_Slot(flat, layout.views(flat)))
            # Packed in a slot, since nothing is streamed yet.
            for name, view in self._slots[0].views.items():
                view.copy_(tensors[name])
            self._host[i] = HostBlock(self._slots[0].flat, device.type == "cuda")
        self._lane = _CardLane(device, len(self._slots)) if device.type == "cuda" else _PlainLane()

    def _slot_of(self, index: int, keep: Sequence[int]) -> int:
        """Number of the slot that holds ``index``, filled now when none does; never one whose block is in ``keep``."""
        for number, slot in enumerate(self._slots):
            if slot.block == index:
                return number
        number, slot = next((n, s) for n, s in enumerate(self._slots) if s.block not in keep)
        self._lane.fill(number, slot, self._host[index])
        slot.block = index
        return number

    def acquire(self, index: int, following: Sequence[int] = ()) -> Tensors:
        ahead = [i for i in following if i not in self._resident][: len(self._slots) - 1]
        if index in self._resident:
            for i, nxt in enumerate(ahead):
                self._slot_of(nxt, ahead[:i])
            return self._resident[index]
        wanted = [index, *(a for a in ahead if a != index)]
        number = self._slot_of(index, wanted)
        self._lane.wait(number)
        for nxt in wanted[1:]:
            self._slot_of(nxt, wanted)
        return self._slots[number].views

    def release(self, index: int) -> None:
        for number, slot in enumerate(self._slots):
            if slot.block == index:
                self._lane.read(number)

    def begin(self) -> None:
        self.forget()

    def end(self) -> None:
        self._lane.end()

    def forget(self) -> None:
        for slot in self._slots:
            slot.block = -1
        self._lane.begin()
