"""The processes of a run as one of them sees them. Everything else asks this and never torch.distributed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol, TypeVar

from torch import Tensor

from ..errors import LTX2Error
from ..protocols import Interrupted, StopSignal

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

T = TypeVar("T")


class PeerLost(LTX2Error):
    """Another process of the run died or failed; the message names it."""


class World(Protocol):
    """rank: this process, from 0. size: how many there are. local_size: those on this machine, which share its memory."""

    rank: int
    size: int
    local_size: int

    def gather(self, value: T) -> list[T]:
        """Every process's ``value``, by rank. All processes call it in the same order, as everything below.

        Raises:
            PeerLost: one of them is gone.
        """
        ...

    def together(self, *groups: ProcessGroup) -> AbstractContextManager[None]:
        """Around what torch does with all processes by itself, in ``groups`` of its own: an error there is a PeerLost."""
        ...

    def sum_(self, tensor: Tensor) -> None:
        """Replace ``tensor`` by its sum over the processes."""
        ...

    def reducer(self, values: Tensor, gradients: Tensor) -> Callable[[], None]:
        """What sums the flat ``gradients`` of the flat ``values`` over the processes, in place, at every call."""
        ...


class Alone:
    """A single process."""

    rank, size, local_size = 0, 1, 1

    def gather(self, value: T) -> list[T]:
        return [value]

    def together(self, *groups: ProcessGroup) -> AbstractContextManager[None]:
        return nullcontext()

    def sum_(self, tensor: Tensor) -> None:
        return

    def reducer(self, values: Tensor, gradients: Tensor) -> Callable[[], None]:
        return lambda: None


ALONE = Alone()


def told(world: World, make: Callable[[], T]) -> T:
    """What ``make`` gives on the first process, on all of them; its error too."""
    with agreed(world):
        value = make() if world.rank == 0 else None
    return world.gather(value)[0]


@contextmanager
def agreed(world: World) -> Iterator[None]:
    """When the block fails on one process with an LTX2Error, it fails on all, once all are through with it."""
    error: LTX2Error | None = None
    try:
        yield
    except PeerLost:
        raise
    except LTX2Error as failed:
        error = failed
    told_by = world.gather(None if error is None else (isinstance(error, Interrupted), str(error)))
    if error is not None:
        raise error
    for stopped, text in (t for t in told_by if t is not None):
        raise (Interrupted if stopped else LTX2Error)(text)


def share(items: Mapping[str, T], world: World) -> dict[str, T]:
    """This process's part of ``items``, every size-th; the parts are disjoint and together all."""
    keys: Sequence[str] = list(items)[world.rank :: world.size]
    return {key: items[key] for key in keys}


class SharedStop:
    """A stop signal that all processes see between the same two steps, whichever of them it reached."""

    def __init__(self, stop: StopSignal, world: World):
        self._stop, self._world = stop, world

    def requested(self) -> bool:
        return any(self._world.gather(self._stop.requested()))
