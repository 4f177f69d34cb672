"""The tools that make the help pages, and the frozen schemas; no host is needed."""

import sys
from pathlib import Path

import pytest

PACK = Path(__file__).resolve().parents[2]
for folder in (PACK / "docs" / "help", PACK / "tests" / "host", PACK / "tests" / "docs"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from schema_rules import frozen_schemas  # noqa: E402


@pytest.fixture(scope="session")
def pack():
    return PACK


@pytest.fixture(scope="session")
def schemas():
    """What every released node declares, by id."""
    return frozen_schemas()
