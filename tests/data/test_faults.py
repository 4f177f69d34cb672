"""Every fault of ``faults.py`` beside a good clip: what becomes of it, that it is named once, and that the good clip goes on.

All run in one process of their own under a limit of time, since a fault inside a codec would end or stop this one.
"""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("faults.py")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "datasets.md"


def _faults():
    spec = importlib.util.spec_from_file_location("ltx2_faults", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FAULTS = _faults()
HERE = [f for f in FAULTS.FAULTS if not f.linux or FAULTS.LINUX]


@pytest.fixture(scope="module")
def outcomes():
    done = subprocess.run([sys.executable, str(SCRIPT), "--json"], capture_output=True, text=True, timeout=300, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("fault", HERE, ids=lambda f: f.what)
def test_a_fault(fault, outcomes):
    found = outcomes[fault.what]
    assert found["became"] == fault.expected
    assert "good.mp4" in found["read"], "the rest of the folder is used"
    if fault.expected == FAULTS.LEFT_OUT:
        name = fault.name.encode("utf-8", "replace").decode()
        assert name in found["said"] and re.search(r"[;:,] .+\.$", found["said"]), "named, with what to do"


def test_the_table_of_the_guide_is_what_happens(outcomes):
    """The words of a decoder's own reason change between its versions; faults and outcomes do not."""
    rows = re.findall(r"^\| ([^|]+) \| (used|left out|passed over) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(rows) == {f.what: f.expected for f in FAULTS.FAULTS}
