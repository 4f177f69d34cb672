"""What the core says, in other languages: its English sentences are looked up among templates with values in them.

A catalogue, ``locales/<language>/messages.json``, maps templates to translations; ``{0}`` stands for any value, ``{0:d}`` for a
whole number. Nothing is read before the first sentence is asked for, and what no template fits stays as it is.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "locales"
LANGUAGES = ("ja", "zh")
# How pieces are put together; a catalogue has them beside the sentences.
JOINTS = ("{0}; {1}", "{0} ({1})", "{0}: {1}", "{0}, {1}", "{0} {1}", "{0}.")
_LONGEST = 4000  # letters of one line; beyond them it is no sentence
_DEEPEST = 6  # values inside values
_TOGETHER = 3  # sentences that one template may hold
_HOLE = re.compile(r"\{\{|\}\}|\{(\d+)(:d)?\}")
_BOUNDARY = re.compile(r"(?<=[.!?]) (?=\S)")
_TAIL = re.compile(r"(.*?\S) \((.*)\)", re.DOTALL)


@dataclass(frozen=True)
class Template:
    """``literals`` with a value between each two; ``numbers``: the values that are whole numbers."""

    literals: tuple[str, ...]
    numbers: frozenset[int]
    translation: str

    @classmethod
    def of(cls, text: str, translation: str) -> Template:
        literals, numbers, at = [""], set(), 0
        for found in _HOLE.finditer(text):
            literals[-1] += text[at : found.start()]
            at = found.end()
            if found[1] is None:
                literals[-1] += found[0][0]
                continue
            if found[2]:
                numbers.add(len(literals) - 1)
            literals.append("")
        literals[-1] += text[at:]
        return cls(tuple(literals), frozenset(numbers), translation)

    @property
    def weight(self) -> int:
        """Letters that are the same in every sentence of this form."""
        return sum(map(len, self.literals))

    def match(self, text: str) -> list[str] | None:
        """The values, each as short as it can be from the left on; None for a sentence of another form."""
        first, *middle = self.literals
        if not middle:
            return [] if text == first else None
        last = middle.pop()
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return None
        at, end, values = len(first), len(text) - len(last), []
        for literal in middle:
            found = text.find(literal, at, end)
            if found < 0:
                return None
            values.append(text[at:found])
            at = found + len(literal)
        values.append(text[at:end])
        return values if all(values[i].isdecimal() for i in self.numbers) else None


def filled(translation: str, values: list[str]) -> str:
    """``translation`` with ``values`` in its places; braces inside of values are nothing special."""
    return _HOLE.sub(lambda m: m[0][0] if m[1] is None else values[int(m[1])], translation)


# How many letters were recognised; of equals, which is taken; and what is said. Where several pieces are known for themselves,
# no template's value should swallow one. A single one comes last: what is beside it may be of a name with a comma in it.
Found = tuple[int, int, str]
_SINGLE, _WHOLE, _SEVERAL = range(3)


def _weighed(parts: Sequence[tuple[int, str]]) -> tuple[int, int]:
    return sum(weight for weight, _ in parts), _SEVERAL if sum(weight > 0 for weight, _ in parts) > 1 else _SINGLE


class Catalogue:
    """One language."""

    def __init__(self, translations: Mapping[str, str]):
        self._joints = {joint: translations.get(joint, joint) for joint in JOINTS}
        self._begun: dict[str, list[Template]] = {}
        for text, translation in translations.items():
            template = Template.of(text, translation)
            if text not in JOINTS:
                self._begun.setdefault(template.literals[0][:2], []).append(template)

    def say(self, text: str) -> str:
        """``text``, line by line, with every part that is known translated."""
        known: dict[str, tuple[int, str]] = {}
        return "\n".join(self._best(line, known, 0)[1] for line in text.split("\n"))

    def _best(self, text: str, known: dict[str, tuple[int, str]], depth: int) -> tuple[int, str]:
        """How many letters of ``text`` were recognised, and it in this language."""
        if " " not in text or len(text) > _LONGEST or depth > _DEEPEST:
            return 0, text
        if text not in known:
            known[text] = (0, text)
            ways = (self._sentences, self._clauses, self._tail, self._whole, self._advice)
            weight, _, said = max((f for way in ways for f in way(text, known, depth)), key=lambda f: f[:2], default=(0, 0, text))
            known[text] = (weight, said) if weight else (0, text)
        return known[text]

    def _whole(self, text: str, known: dict, depth: int) -> Iterator[Found]:
        # Of equals the first is taken: one that begins with letters of the sentence.
        for template in (t for begin in dict.fromkeys((text[:2], text[:1], "")) for t in self._begun.get(begin, ())):
            values = template.match(text)
            if values is not None:
                inner = [self._best(value, known, depth + 1) for value in values]
                yield template.weight + sum(weight for weight, _ in inner), _WHOLE, filled(template.translation, [said for _, said in inner])

    def _joined(self, joint: str, *parts: tuple[int, str]) -> Found:
        return *_weighed(parts), filled(self._joints[joint], [said for _, said in parts])

    def _sentences(self, text: str, known: dict, depth: int) -> Iterator[Found]:
        """Several sentences, one after the other; a template may hold a few of them."""
        parts, at, found, said = _BOUNDARY.split(text), 0, [], ""
        if len(parts) == 1:
            return
        best = [self._best(part, known, depth + 1) for part in parts]
        while at < len(parts):
            count, (more, piece) = 1, best[at]
            for n in range(2, min(_TOGETHER, len(parts) - at) + 1):
                apart = sum(each for each, _ in best[at : at + n])
                for whole, _, words in self._whole(" ".join(parts[at : at + n]), known, depth + 1):
                    if whole > apart:
                        count, more, piece = n, whole, words
            # English goes on with a space.
            said = piece if not at else filled(self._joints["{0} {1}"], [said, piece]) if more and any(w for w, _ in found) else f"{said} {piece}"
            at, found = at + count, [*found, (more, piece)]
        yield *_weighed(found), said

    def _tail(self, text: str, known: dict, depth: int) -> Iterator[Found]:
        """What stands in brackets at the end, which may be a piece of its own with them."""
        if not (found := _TAIL.fullmatch(text)):
            return
        head, tail = self._best(found[1], known, depth + 1), self._best(f"({found[2]})", known, depth + 1)
        yield *_weighed((head, tail)), f"{head[1]} {tail[1]}"
        yield self._joined("{0} ({1})", head, self._best(found[2], known, depth + 1))

    def _clauses(self, text: str, known: dict, depth: int) -> Iterator[Found]:
        """A reason and what helps; a name and what is said of it; a list."""
        for mark in ("; ", ": "):
            head, found, rest = text.partition(mark)
            if found:
                weight, _, said = self._joined(f"{{0}}{mark}{{1}}", self._best(head, known, depth + 1), self._best(rest, known, depth + 1))
                yield weight, _SEVERAL, said  # these stand in few names, but many sentences come after a word of their own: "warning: …"
        listed = [self._best(part, known, depth + 1) for part in text.split(", ")]
        if len(listed) > 1:
            yield *_weighed(listed), self._joints["{0}, {1}"].removeprefix("{0}").removesuffix("{1}").join(said for _, said in listed)

    def _advice(self, text: str, known: dict, depth: int) -> Iterator[Found]:
        """The end of a reason that was made a sentence of its own."""
        if text[0].isupper() and text.endswith("."):
            weight, said = self._best(text[0].lower() + text[1:-1], known, depth + 1)
            yield self._joined("{0}.", (weight, said))


@functools.cache
def catalogue(language: str) -> Catalogue:
    """Of "ja", "zh", or a form of theirs such as "zh-TW"; an empty one where there is no readable file."""
    name = language.split("-")[0]
    if name not in LANGUAGES:
        return Catalogue({})
    try:
        return Catalogue(json.loads((FOLDER / name / "messages.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        logging.warning("[LTX-2 Studio] The messages of %s cannot be read (%s); they are shown in English.", name, error)
        return Catalogue({})


def in_languages(data: Mapping[str, object], *keys: str) -> dict[str, object]:
    """``data`` with ``said``: language -> its sentences under ``keys``, where they differ; a page chooses its own."""
    given = {key: data[key] for key in keys if isinstance(data.get(key), str)}
    said = {}
    for language in LANGUAGES:
        told = {key: new for key, text in given.items() if (new := catalogue(language).say(text)) != text}
        if told:
            said[language] = told
    return {**data, "said": said} if said else dict(data)
