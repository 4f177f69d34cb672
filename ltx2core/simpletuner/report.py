"""What became of every key of an imported configuration."""

from __future__ import annotations

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

    def __str__(self) -> str:
        arrow = f" -> {self.where}" if self.where else ""
        note = f": {self.note}" if self.note else ""
        flags = (" (SimpleTuner's default)" if self.default else "") + (" (LOST)" if self.loss else "")
        return f"{self.key} = {self.value!r}{arrow}{flags}{note}"


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
        written = [e for e in self.entries if not e.default]
        counts = ", ".join(f"{sum(e.status == s for e in written)} {s}" for s in STATUSES)
        lost = f"; {len(self.losses)} would change the result and are LOST" if self.losses else "; nothing is lost"
        lines = [f"{len(written)} keys: {counts}{lost}."]
        for source in dict.fromkeys(e.source for e in self.entries):
            for status in STATUSES:
                found = [e for e in self.entries if (e.source, e.status) == (source, status)]
                if found:
                    lines += ["", f"{source}, {status}:", *(f"  {e}" for e in found)]
        if self.differences:
            lines += ["", "This pack also does otherwise:", *(f"  {d}" for d in self.differences)]
        return "\n".join(lines)
