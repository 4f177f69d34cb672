"""One thing that a person should know before a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

ERROR, WARNING, INFO = "error", "warning", "info"
SEVERITIES = (ERROR, WARNING, INFO)
# Said as words of their own, by which other languages find them.
_CALLED = {ERROR: "error", WARNING: "warning", INFO: "info"}
_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """severity: ``error`` (the run would fail), ``warning`` (it would be worse than it could be), ``info``.

    Attributes:
        topic: what it is about, for programs: "captions", "memory", ...
        text: one or two sentences.
        advice: one suggested change; of plain facts, what would make them others.
        files: the clips that it is about.
    """

    severity: str
    topic: str
    text: str
    advice: str = ""
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{_CALLED[self.severity]}: {' '.join(filter(None, (self.text, self.advice)))}"

    def to_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Preflight:
    """The findings, the gravest first, each once."""

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Preflight:
        return cls(tuple(sorted(dict.fromkeys(findings), key=lambda f: SEVERITIES.index(f.severity))))

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == ERROR)

    def about(self, topic: str) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.topic == topic)

    def to_dict(self) -> dict:
        return {"ok": not self.errors, "findings": [f.to_dict() for f in self.findings]}

    def __str__(self) -> str:
        counts = ", ".join(f"{len([f for f in self.findings if f.severity == s])} {s}" for s in SEVERITIES)
        return "\n".join([f"{len(self.findings)} findings: {counts}.", *map(str, self.findings)])


def named(names: Iterable[str]) -> str:
    """The first few of ``names``, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def of(count: int, thing: str) -> str:
    """``1 clip``, ``2 clips``."""
    return f"{count} {thing}" + ("" if count == 1 else "s")
