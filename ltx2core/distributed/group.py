"""The processes that torchrun started, as a World: gloo for what lies in host memory, NCCL for what lies on NVIDIA cards."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import LTX2Error
from ..protocols import Interrupted
from ..standalone import default_device
from .ddp import AdapterReducer
from .watch import Watch, connect
from .world import PeerLost

T = TypeVar("T")
_POLL = 0.0005  # seconds between two looks at a sum on a card
_LONGEST = timedelta(hours=2)  # that one process may wait for another; a death is noticed long before


def started_by_torchrun() -> bool:
    return all(name in os.environ for name in ("LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"))


def own_device(name: str | None, local_rank: int) -> torch.device:
    """The device of the process ``local_rank`` of this machine.

    Raises:
        LTX2Error: there are more processes than cards.
    """
    device = torch.device(name) if name else default_device()
    if device.type != "cuda":
        return device
    if local_rank >= torch.cuda.device_count():
        raise LTX2Error(f"torchrun started more processes than the {torch.cuda.device_count()} cards here; lower --nproc-per-node to that.")
    return torch.device("cuda", local_rank)


class CardGroups:
    """The groups whose operations run on cards. One that waits for a dead process holds up the card for ever, and the state
    has to be read from it; so all are ended, from any thread, once.
    """

    def __init__(self) -> None:
        self._groups: list[dist.ProcessGroup] = []
        self._lock, self._ended = threading.Lock(), False

    def add(self, *groups: dist.ProcessGroup) -> None:
        with self._lock:
            self._groups += [group for group in groups if not self._ended and group not in self._groups]

    def abort(self) -> None:
        with self._lock:
            self._ended = True
            while self._groups:
                self._groups.pop().abort()


class TorchWorld:
    """See :class:`~ltx2core.distributed.world.World`. ``host``: the group for what lies in host memory; ``cards``: all others."""

    def __init__(self, device: torch.device, host: dist.ProcessGroup, cards: CardGroups, watch: Watch):
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.local_size = int(os.environ["LOCAL_WORLD_SIZE"])
        self.device, self.watch, self._host, self._cards = device, watch, host, cards

    @contextmanager
    def together(self, *groups: dist.ProcessGroup) -> Iterator[None]:
        if groups and self.device.type == "cuda":
            self._cards.add(*groups)
            self.watch.hurry(True)
        try:
            yield
        except PeerLost:
            self._cards.abort()
            raise
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, OSError) as error:
            self._cards.abort()
            raise PeerLost(self.watch.find_cause(str(error).splitlines()[0])) from error

    def gather(self, value: T) -> list[T]:
        # The first process may come late, from writing a checkpoint; here a death shows at once.
        self.watch.hurry(False)
        found: list[T] = [value] * self.size
        with self.together():
            dist.all_gather_object(found, value, group=self._host)
        return found

    def sum_(self, tensor: Tensor) -> None:
        with self.together():
            dist.all_reduce(tensor, group=self._host if tensor.device.type == "cpu" else None)
            self._wait(tensor.device)

    def reducer(self, values: Tensor, gradients: Tensor) -> Callable[[], None]:
        with self.together():
            reducer = AdapterReducer(values, gradients)

        def reduce() -> None:
            with self.together():
                reducer()
                self._wait(gradients.device)

        return reduce

    def _wait(self, device: torch.device) -> None:
        """Until the sum is there. NCCL would wait for ever for a dead process, and no step may be taken on half a sum."""
        if device.type != "cuda":
            return
        done = torch.cuda.Event()
        done.record()
        self.watch.hurry(True)
        while not done.query() and self.watch.cause is None:
            time.sleep(_POLL)
        # Also when it is done: sums that are ended from outside look finished.
        if self.watch.cause is not None:
            raise PeerLost(self.watch.cause)


@contextmanager
def joined(device: torch.device) -> Iterator[TorchWorld]:
    """This process among those of torchrun, inside the block; the others learn how it ends.

    Raises:
        PeerLost: another one is gone.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    cards = device.type == "cuda"
    dist.init_process_group("nccl" if cards else "gloo", timeout=_LONGEST, device_id=device if cards else None)
    host = dist.new_group(backend="gloo", timeout=_LONGEST) if cards else dist.group.WORLD
    groups = CardGroups()
    if cards:
        groups.add(dist.group.WORLD)
    watch = Watch(connect(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), dist.get_rank(), dist.get_world_size(), groups.abort)
    try:
        yield TorchWorld(device, host, groups, watch)
    except (PeerLost, Interrupted):
        raise
    except BaseException as error:
        watch.fail(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise
    else:
        dist.barrier(group=host)
        dist.destroy_process_group()
    finally:
        watch.close()
