"""One configuration while it is imported: typed reading, and an entry of the report for each key that was looked at."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping

from ..errors import LTX2Error
from .report import HONOURED, IDLE, MAPPED, Entry

def unknown(source: str, key: str, known: Iterable[str]) -> LTX2Error:
    """Of a key that SimpleTuner does not have; names the nearest one of its several hundred."""
    near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0)
    return LTX2Error(f"{source} has the option {key[:80]!r}, which SimpleTuner does not know; did you mean {near[0]!r}?")


_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NOTHING = (None, "", "none", "None", "null")


def as_flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _WORDS:
        raise ValueError("true or false")
    return _WORDS[word]


def as_whole(value: object) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError("a whole number")
    return int(float(value))


def as_number(value: object) -> float:
    if isinstance(value, bool):
        raise ValueError("a number")
    return float(value)


def as_text(value: object) -> str:
    if isinstance(value, (dict, list)):
        raise ValueError("text")
    return str(value)


def as_data(value: object) -> object:
    """A list or an object, or the JSON of one."""
    return json.loads(value) if isinstance(value, str) else value


_KINDS: dict[Callable, str] = {as_flag: "true or false", as_whole: "a whole number", as_number: "a number", as_text: "text", as_data: "JSON"}


class Options:
    """Options of one file or dataset. ``source`` names it in the report."""

    def __init__(self, values: Mapping[str, object], source: str):
        self._values, self._source = dict(values), source
        self.entries: list[Entry] = []

    def __contains__(self, key: str) -> bool:
        return key in self._values

    @property
    def source(self) -> str:
        return self._source

    def read(self, key: str, kind: Callable[[object], object], default: object = None) -> object:
        """The value in its type, ``default`` where it is absent or empty.

        Raises:
            LTX2Error: of another type.
        """
        value = self._values.get(key)
        if value in _NOTHING and not isinstance(value, bool):
            return default
        try:
            return kind(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise LTX2Error(f"{self._source}: {key} is {str(value)[:80]!r}; it must be {_KINDS[kind]}.") from error

    def flag(self, key: str, default: bool = False) -> bool:
        return self.read(key, as_flag, default)

    def whole(self, key: str, default: int | None = None) -> int | None:
        return self.read(key, as_whole, default)

    def number(self, key: str, default: float | None = None) -> float | None:
        return self.read(key, as_number, default)

    def text(self, key: str, default: str = "") -> str:
        return self.read(key, as_text, default)

    def data(self, key: str) -> object:
        return self.read(key, as_data)

    def _note(self, key: str, status: str, where: str, note: str, loss: bool) -> None:
        if key in self._values and not self.noted(key):
            self.entries.append(Entry(self._source, key, self._values[key], status, where, note, loss))

    def noted(self, key: str) -> bool:
        """Whether the key has its entry already."""
        return any(e.key == key for e in self.entries)

    def honoured(self, key: str, where: str, note: str = "") -> None:
        """The key means the same at ``where``. Says nothing for a key that is not written."""
        self._note(key, HONOURED, where, note, False)

    def mapped(self, key: str, where: str, note: str, loss: bool = False) -> None:
        self._note(key, MAPPED, where, note, loss)

    def idle(self, key: str, note: str, loss: bool = False) -> None:
        self._note(key, IDLE, "", note, loss)

    def default(self, key: str, value: object, where: str) -> None:
        """SimpleTuner's default of a key that is not written is taken."""
        if key not in self._values:
            self.entries.append(Entry(self._source, key, value, MAPPED, where, default=True))

    def finish(self, known: Iterable[str]) -> tuple[Entry, ...]:
        """The entries in the file's order.

        Raises:
            LTX2Error: a key that SimpleTuner does not have; the nearest is named.
        """
        known = set(known)
        for key in self._values:
            if key not in known:
                raise unknown(self._source, key, known)
        seen = {e.key for e in self.entries}
        unread = [key for key in self._values if key not in seen]
        if unread:
            raise AssertionError(f"no rule looked at {unread}")
        order = {key: i for i, key in enumerate(self._values)}
        return tuple(sorted(self.entries, key=lambda e: order.get(e.key, len(order))))
