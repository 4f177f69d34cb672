"""Shared pytest options, and how tests share the processors."""

import os
from pathlib import Path

import pytest

# Before torch is first imported, for child processes and the host too: tiny tensors take several times as long where
# threads wait for each other at every operation, the more so when other work runs beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).resolve().parent
LONGEST = ("browser", "train", "host", "distributed", "cache", "data", "sample")  # begun first, so that none is left for the end


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the long harnesses whole")
    parser.addoption("--as-shipped", action="store_true", help="also run the shipped workflows with their own sizes and steps: about an hour on two cores")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """A folder's tests share a host, a browser or made files: of several processes (pytest-xdist) one takes them all."""

    def folder(item) -> str:
        return item.path.relative_to(HERE).parts[0]

    items.sort(key=lambda item: LONGEST.index(folder(item)) if folder(item) in LONGEST else len(LONGEST))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(folder(item)))
