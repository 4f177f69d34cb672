"""Frozen settings from plain dictionaries: every key known, every type right, one clear sentence otherwise."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TypeVar

from .errors import LTX2Error

T = TypeVar("T")


def nearest(name: str, names) -> str:
    """" (did you mean x?)" for a name close to one of ``names``, else an empty string."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def from_dict(kind: type[T], raw: Mapping[str, object], what: str) -> T:
    """An instance of the dataclass ``kind``; lists become tuples, ints are taken for floats.

    Args:
        what: how the settings are called in an error, for example "train".

    Raises:
        LTX2Error: an unknown or a missing key, or a value of the wrong type.
    """
    if not isinstance(raw, Mapping):
        raise LTX2Error(f"{what} must be an object with named values, not {type(raw).__name__}.")
    known = {f.name: f for f in fields(kind) if f.init}
    for key in raw:
        if key not in known:
            raise LTX2Error(f"{what} has no setting {key!r}{nearest(key, known)}; take it out or correct it.")
    values = {}
    for name, field in known.items():
        if name in raw:
            values[name] = _checked(raw[name], str(field.type), f"{what}.{name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise LTX2Error(f"{what} needs a value for {name}.")
    return kind(**values)


_PLAIN = {"int": int, "float": float, "str": str, "bool": bool}


def _checked(value: object, declared: str, what: str) -> object:
    if isinstance(value, list):
        value = tuple(tuple(v) if isinstance(v, list) else v for v in value)
    options = [part.strip() for part in declared.split("|")]
    if value is None:
        if "None" in options:
            return None
        raise LTX2Error(f"{what} is null; give a value.")
    wanted = [_PLAIN[o] for o in options if o in _PLAIN]
    if not wanted or len(wanted) < len([o for o in options if o != "None"]):
        return value
    if float in wanted and type(value) is int:
        return float(value)
    if type(value) in wanted:
        return value
    raise LTX2Error(f"{what} is {value!r}; it must be {' or '.join(t.__name__ for t in wanted)}.")
