"""The processes that torchrun started, as a World: gloo for what lies in host memory, NCCL for what lies on NVIDIA cards."""

from __future__ import annotations

import os
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
_POLL = 0.002  # seconds between two looks at a sum on a card
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


class TorchWorld:
    """See :class:`~ltx2core.distributed.world.World`. ``host``: the group for what lies in host memory."""

    def __init__(self, device: torch.device, host: dist.ProcessGroup, watch: Watch):
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.local_size = int(os.environ["LOCAL_WORLD_SIZE"])
        self.device, self.watch, self._host = device, watch, host

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except PeerLost:
            self._give_up()
            raise
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, OSError) as error:
            self._give_up()
            raise PeerLost(self.watch.find_cause(str(error).splitlines()[0])) from error

    def _give_up(self) -> None:
        if self.device.type == "cuda":
            # A sum that will never be there holds up the card, and the state has to be read from it.
            dist.group.WORLD.abort()

    def gather(self, value: T) -> list[T]:
        found: list[T] = [value] * self.size
        with self._together():
            dist.all_gather_object(found, value, group=self._host)
        return found

    def sum_(self, tensor: Tensor) -> None:
        with self._together():
            dist.all_reduce(tensor, group=self._host if tensor.device.type == "cpu" else None)
            self._wait(tensor.device)

    def reducer(self, values: Tensor, gradients: Tensor) -> Callable[[], None]:
        with self._together():
            reducer = AdapterReducer(values, gradients)

        def reduce() -> None:
            with self._together():
                reducer()
                self._wait(gradients.device)

        return reduce

    def _wait(self, device: torch.device) -> None:
        """Until the sum is there. NCCL would wait for ever for a dead process, and no step may be taken on half a sum."""
        if device.type != "cuda":
            return
        done = torch.cuda.Event()
        done.record()
        while not done.query():
            if self.watch.cause is not None:
                raise PeerLost(self.watch.cause)
            time.sleep(_POLL)


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
    watch = Watch(connect(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), dist.get_rank(), dist.get_world_size())
    try:
        yield TorchWorld(device, host, watch)
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
