"""Dictionaries become settings, or one sentence says why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from ltx2core.errors import LTX2Error
from ltx2core.strict import from_dict, to_plain


@dataclass(frozen=True)
class Inner:
    share: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    count: int = 1
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    which: str | tuple[str, ...] = "all"
    raw: Mapping = field(default_factory=dict)


def test_nested_values_arrive_as_records_and_go_back():
    raw = {"name": "x", "count": 3, "inner": {"share": 1}, "many": [{"share": 0.25}, {}], "which": ["a", "b"], "raw": {"k": [1]}}
    read = from_dict(Outer, raw, "it")
    assert read == Outer("x", 3, Inner(1.0), (Inner(0.25), Inner()), ("a", "b"), {"k": [1]})
    assert type(read.inner.share) is float
    assert from_dict(Outer, to_plain(read), "it") == read


@pytest.mark.parametrize("raw, message", [
    ({"name": "x", "cuont": 1}, "it has no option 'cuont'; did you mean 'count'?"),
    ({"count": 1}, "it needs a value for name"), ({"name": 3}, "it.name is 3; it must be str."), ({"name": "x", "count": 1.5}, "it.count is 1.5; it must be int."),
    ({"name": "x", "count": True}, "it.count is True"), ({"name": "x", "inner": 3}, "it.inner is int"),
    ({"name": "x", "many": [{"shar": 1}]}, "it.many[0] has no option 'shar'"), ({"name": None}, "it.name is None"), (7, "it is int"),
])  # fmt: skip
def test_what_is_wrong_is_named(raw, message):
    with pytest.raises(LTX2Error) as error:
        from_dict(Outer, raw, "it")
    assert message in str(error.value)
