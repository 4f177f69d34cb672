"""The host's services, one object."""

from __future__ import annotations

from dataclasses import dataclass

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


_RESIDENCY = HostResidency()


def host() -> Host:
    """Services for one execution of a node. Residency is shared: one program has one of these."""
    return Host(_RESIDENCY, HostReporter(), HostStop(), HostPaths())
