"""The guide's tables are those that the importer gives."""

import importlib.util
from pathlib import Path


def test_the_guide_is_up_to_date():
    spec = importlib.util.spec_from_file_location("write_key_table", Path(__file__).with_name("write_key_table.py"))
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert writer.document() == writer.DOCUMENT.read_text(encoding="utf-8"), "run tests/simpletuner/write_key_table.py"
