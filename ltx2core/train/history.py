"""The losses of a run: in memory for the picture, one line of JSON each on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..files import atomic_path, full_disk_said
from .validate import ValidationLoss


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step, counted from 1. ``video`` or ``audio`` is None when no sample had such a loss. Norm before clipping.

    video_by_sigma, audio_by_sigma: means in the buckets of ``sigma_buckets.NAMES``, None for an empty one.
    alignment: CREPA's score.
    """

    step: int
    loss: float
    video: float | None
    audio: float | None
    gradient_norm: float
    rate: float
    video_by_sigma: tuple[float | None, ...] = ()
    audio_by_sigma: tuple[float | None, ...] = ()
    alignment: float | None = None


@dataclass
class History:
    """Appends to ``path``; what a killed run wrote beyond its last checkpoint is cut off by :meth:`open`."""

    path: Path
    steps: list[StepRecord] = field(default_factory=list)
    validation: list[ValidationLoss] = field(default_factory=list)
    written: bool = True

    @classmethod
    def open(cls, path: Path, last_step: int, written: bool = True) -> History:
        """Read the records up to ``last_step`` and drop the later ones from the file.

        ``last_step`` 0 of a run that never saved keeps nothing.
        """
        history = cls(path, written=written)
        for line in path.read_text(encoding="utf-8").splitlines() if last_step and path.exists() else ():
            try:
                raw = json.loads(line)
            except ValueError:
                break  # a line cut by a kill is always the last one
            if raw["step"] <= last_step:
                history._keep(raw)
        if not written:
            return history
        with atomic_path(path) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in history._rows()), encoding="utf-8")
        return history

    def _keep(self, raw: dict) -> None:
        raw = dict(raw)
        if raw.pop("event") == "step":
            self.steps.append(StepRecord(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}))
        else:
            self.validation.append(ValidationLoss(**raw))

    def _rows(self) -> list[dict]:
        rows = [{"event": "step", **asdict(r)} for r in self.steps] + [{"event": "validation", **asdict(v)} for v in self.validation]
        return sorted(rows, key=lambda row: row["step"])

    def add(self, *records: StepRecord | ValidationLoss) -> None:
        """Raises LTX2Error when the disk is full."""
        for record in records:
            (self.steps if isinstance(record, StepRecord) else self.validation).append(record)
        if not self.written:
            return
        with full_disk_said(self.path), self.path.open("a", encoding="utf-8") as file:
            for record in records:
                is_step = isinstance(record, StepRecord)
                file.write(json.dumps({"event": "step" if is_step else "validation", **asdict(record)}) + "\n")
