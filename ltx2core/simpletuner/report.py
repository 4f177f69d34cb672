"""What became of every key of an imported configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

HONOURED, MAPPED, IDLE = "honoured", "mapped", "not applicable"
STATUSES = (HONOURED, MAPPED, IDLE)


@dataclass(frozen=True)
class Entry:
    """One key.

    Attributes:
        source: "config", or "dataset" and its id.
        status: ``honoured`` (means the same here), ``mapped`` (done in another way, see ``note``), ``not applicable``.
        where: the run file's path that it became, such as ``train.learning_rate``; empty where there is none.
        loss: the value would change the result and is not carried over.
        default: the key is not written; its default in SimpleTuner is taken, so that the run stays the same.
    """

    source: str
    key: str
    value: object
    status: str
    where: str = ""
    note: str = ""
    loss: bool = False
    default: bool = False

    def said(self, say: Callable[[str], str] = str) -> str:
        """One line. ``say`` tells what this pack says in another language; keys and values are nobody's sentences and stay."""
        arrow = f" -> {self.where}" if self.where else ""
        default = " " + say("(SimpleTuner's default)") if self.default else ""
        lost = " " + say("(it is LOST)") if self.loss else ""
        note = f": {say(self.note)}" if self.note else ""
        return f"{self.key} = {self.value!r}{arrow}{default}{lost}{note}"


@dataclass(frozen=True)
class Report:
    """Entries in the order of the files, and what this pack does otherwise whatever the keys say."""

    entries: tuple[Entry, ...]
    differences: tuple[str, ...] = ()

    @property
    def losses(self) -> tuple[Entry, ...]:
        return tuple(e for e in self.entries if e.loss)

    def of(self, key: str, source: str = "config") -> Entry:
        return next(e for e in self.entries if (e.source, e.key) == (source, key))

    def to_dict(self) -> dict:
        return {"entries": [asdict(e) for e in self.entries], "differences": list(self.differences), "lossless": not self.losses}

    def __str__(self) -> str:
        return self.said()

    def said(self, say: Callable[[str], str] = str) -> str:
        """All of it, in English or in the language of ``say``."""
        lines = [say(self._counts())]
        for source in dict.fromkeys(e.source for e in self.entries):
            dataset = source.removeprefix("dataset ")
            for status in STATUSES:
                # "dataset" stands in the sentence and not in a value, so that other languages find it.
                heading = f"{source}, {status}:" if dataset == source else f"dataset {dataset}, {status}:"
                found = [e for e in self.entries if (e.source, e.status) == (source, status)]
                if found:
                    lines += ["", say(heading), *(f"  {e.said(say)}" for e in found)]
        if self.differences:
            lines += ["", say("This pack also does otherwise:"), *(f"  {say(d)}" for d in self.differences)]
        return "\n".join(lines)

    def _counts(self) -> str:
        written, lost = [e for e in self.entries if not e.default], len(self.losses)
        honoured, mapped, idle = ([e for e in written if e.status == s] for s in STATUSES)
        if not lost:
            return f"{len(written)} keys: {len(honoured)} honoured, {len(mapped)} mapped, {len(idle)} not applicable; nothing is lost."
        return f"{len(written)} keys: {len(honoured)} honoured, {len(mapped)} mapped, {len(idle)} not applicable; {lost} would change the result and are LOST."
