"""How several cards share a base: ``ddp``, each has all of it (resident, quantised or streamed); ``fsdp2``, each has a part.

``auto`` takes ddp wherever the base fits one card: nothing of it is sent between cards then, which peers measured three
to six times faster for adapters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import LTX2Error
from .world import World

if TYPE_CHECKING:
    from ..memory.engine import MemorySettings
    from ..memory.plan import Plan
    from ..train.settings import RunConfig

KINDS = ("auto", "ddp", "fsdp2")


@dataclass(frozen=True)
class Placed:
    """sharded: by FSDP2. plan: of each card, None on processors. why: a sentence for the person, or ""."""

    sharded: bool
    plan: Plan | None = None
    why: str = ""


def check_kind(name: str) -> str:
    """Raises LTX2Error for a name that is none of :data:`KINDS`."""
    if name not in KINDS:
        raise LTX2Error(f"distributed is {name!r}; choose one of {', '.join(KINDS)}.")
    return name


def choose_kind(name: str, world: World, run: RunConfig, memory: MemorySettings | None, make_plan: Callable[[bool], Plan | None]) -> Placed:
    """The same on all processes, of which each makes the same plan, given whether the base is sharded.

    Raises:
        LTX2Error: ``fsdp2`` was asked for what it cannot do, or nothing fits either way.
    """
    check_kind(name)
    if world.size == 1:
        return Placed(False, make_plan(False))
    from .fsdp import check_shardable  # it is built on the memory engine, which asks here

    if name == "fsdp2":
        check_shardable(run, memory)
        return Placed(True, make_plan(True), f"The base is sharded over {world.local_size} cards a machine (FSDP2).")
    try:
        return Placed(False, make_plan(False))
    except LTX2Error as full:
        if name == "ddp":
            raise
        try:
            check_shardable(run, memory)
            plan = make_plan(True)
        except LTX2Error as refused:
            raise LTX2Error(f"{full} Sharding it over the cards is no way out either: {refused}") from refused
        return Placed(True, plan, f"The base does not fit one card, so it is sharded over {world.local_size} a machine (FSDP2).")
