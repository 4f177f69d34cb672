"""The host's services, one object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .controls import LIVE, LiveRun
from .paths import HostPaths
from .reporter import HostReporter
from .residency import HostResidency
from .stop import HostStop


@dataclass(frozen=True)
class Host:
    residency: HostResidency
    reporter: HostReporter
    stop: HostStop
    paths: HostPaths

    @contextmanager
    def training(self, name: str) -> Iterator[LiveRun]:
        """The node's buttons act on run ``name`` inside the block, and its events carry the name."""
        with LIVE.running(name, lambda data: self.reporter.send("ltx2.run", data)) as run:
            self.reporter.follow(run)
            yield run


_RESIDENCY = HostResidency()


def host() -> Host:
    """Services for one execution of a node. Residency is shared: one program has one of these."""
    return Host(_RESIDENCY, HostReporter(), HostStop(), HostPaths())
