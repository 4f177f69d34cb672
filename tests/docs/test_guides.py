"""What the guides name is there: options, files, links."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from ltx2core.data.spec import DatasetSpec

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_every_option_of_a_dataset_is_in_its_guide():
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")))
    assert {f.name for f in fields(DatasetSpec)} <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_files_are_there(page):
    text = page.read_text(encoding="utf-8")
    linked = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    named = re.findall(r"`((?:tests|benchmarks|docs|ltx2core|nodes|workflows|js|locales)/[\w/.\-]*\w/?)(?:::\w+)?`", text)
    missing = [t for t in linked if not (page.parent / t).exists()] + [n for n in named if not (ROOT / n).exists()]
    assert not missing


def test_every_guide_is_linked_from_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in PAGES if p.name != "README.md" and f"docs/{p.name}" not in text] == []


def test_the_hardware_table_is_the_measurements():
    done = subprocess.run([sys.executable, "benchmarks/table.py"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True)
    assert done.stdout.strip() and done.stdout.strip() in (ROOT / "README.md").read_text(encoding="utf-8"), "run benchmarks/table.py"
