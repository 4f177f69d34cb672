"""Shared pytest options, and one thread for each process."""

import os

# Before torch is first imported, for child processes and the host too: tiny tensors take several times as long where
# threads wait for each other at every operation, the more so when other work runs beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the long harnesses whole")
