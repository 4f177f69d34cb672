"""The figures of docs/datasets.md are those that were measured."""

from benchmarks.dataset_tables import GUIDE, with_tables


def test_the_tables_are_the_measurements():
    text = GUIDE.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run: python benchmarks/dataset_tables.py"
