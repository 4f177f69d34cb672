"""Frozen settings from plain dictionaries: every key known, every type right, one clear sentence otherwise."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import LTX2Error

T = TypeVar("T")

_PLAIN = (int, float, str, bool)


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about the unknown ``name``: the known one that is nearest, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."


def from_dict(kind: type[T], raw: Mapping[str, object], what: str) -> T:
    """An instance of the dataclass ``kind``: lists become tuples, mappings nested dataclasses; ints are taken for floats.

    Args:
        what: how the settings are called in an error, for example "train".

    Raises:
        LTX2Error: not a mapping, an unknown key (the nearest known one is named), a missing one, or a wrong type.
    """
    if not isinstance(raw, Mapping):
        raise LTX2Error(f"{what} is {type(raw).__name__}; give a mapping of option names to values.")
    known = {f.name: f for f in fields(kind) if f.init}
    hints = get_type_hints(kind)
    for key in raw:
        if key not in known:
            raise LTX2Error(f"{what} has no option {key!r}; {nearest(str(key), known)}")
    for name, f in known.items():
        if name not in raw and f.default is MISSING and f.default_factory is MISSING:
            raise LTX2Error(f"{what} needs a value for {name}; add it.")
    return kind(**{key: _value(value, hints[key], f"{what}.{key}") for key, value in raw.items()})


def _options(hint: Any) -> tuple:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _tuples(value: object) -> object:
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


def _value(value: object, hint: Any, what: str) -> object:
    options = _options(hint)
    if value is None and type(None) in options:
        return None
    record = next((o for o in options if is_dataclass(o)), None)
    if record is not None:
        return value if isinstance(value, record) else from_dict(record, value, what)
    for option in options:
        if get_origin(option) is tuple and isinstance(value, (list, tuple)):
            inner = get_args(option)[0]
            return tuple(from_dict(inner, v, f"{what}[{i}]") for i, v in enumerate(value)) if is_dataclass(inner) else _tuples(value)
    plain = [o for o in options if o in _PLAIN]
    if type(value) is int and float in plain and int not in plain:
        return float(value)
    if type(value) in plain:
        return value
    if not plain or any(isinstance(value, get_origin(o) or o) for o in options if o not in _PLAIN):
        return _tuples(value)
    raise LTX2Error(f"{what} is {value!r}; it must be {' or '.join(t.__name__ for t in plain)}.")


def to_plain(value: Any) -> Any:
    """The same settings as JSON values: records as mappings, tuples as lists."""
    if is_dataclass(value):
        return to_plain(asdict(value))
    if isinstance(value, Mapping):
        return {k: to_plain(v) for k, v in value.items()}
    return [to_plain(v) for v in value] if isinstance(value, (tuple, list)) else value


def with_defaults(kind: type, plain: Any) -> Any:
    """``plain``, JSON values of a record of ``kind`` that may lack fields, with the defaults of those, in records inside it too."""
    if not isinstance(plain, Mapping):
        return plain
    hints, result = get_type_hints(kind), dict(plain)
    for f in fields(kind):
        if f.name in plain:
            result[f.name] = _inside(plain[f.name], hints[f.name])
        elif f.default is not MISSING or f.default_factory is not MISSING:
            result[f.name] = to_plain(f.default if f.default is not MISSING else f.default_factory())
    return result


def _inside(plain: Any, hint: Any) -> Any:
    for option in _options(hint):
        inner = get_args(option)[0] if get_origin(option) is tuple else None
        if is_dataclass(option):
            return with_defaults(option, plain)
        if is_dataclass(inner) and isinstance(plain, list):
            return [with_defaults(inner, value) for value in plain]
    return plain
