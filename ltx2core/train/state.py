"""One file a checkpoint: adapter, optimizer, sampler position and the run's facts, written whole or not at all.

Safetensors with JSON in its header. Random numbers need no place in it (see ``randomness.py``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import LTX2Error
from ..files import atomic_path
from ..strict import to_plain, with_defaults
from .retention import Retention
from .settings import RunConfig, TrainSettings

VERSION = 1
# Settings that change how long or how often, but no step's result.
_FREE = (
    "checkpoint_every", "keep_checkpoints", "keep_every", "validate_every", "validation_clips", "gradient_checkpointing", "divergence_guard",
    "preview_every", "resume", "tracking",
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What a run depends on; two runs with equal facts go through the same steps."""

    settings: Mapping[str, Any]
    dataset: str
    base: str

    @classmethod
    def of(cls, run: RunConfig, dataset: str, base: str, **others: str) -> Facts:
        """``base`` names the base weights (a content hash); ``others`` what else the run depends on, empty ones left out."""
        plain = to_plain(run)
        # How a global batch is dealt out changes no step's result.
        dealt = ("batch_size", "accumulation") if run.train.global_batch else ()
        for name in _FREE + dealt + (("steps",) if _steps_are_free(run.train) else ()):
            del plain["train"][name]
        if plain["train"].get("crepa"):
            del plain["train"]["crepa"]["allow_download"]
        return cls({**plain, **{k: v for k, v in others.items() if v}}, dataset, base)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps([self.settings, self.dataset, self.base], sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        return {"settings": self.settings, "dataset": self.dataset, "base": self.base}


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Content hash of named tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _steps_are_free(settings: TrainSettings) -> bool:
    """What is constant does not depend on the end, so such a run can be made longer."""
    crepa = settings.crepa
    return settings.schedule == "constant" and (crepa is None or crepa.schedule == "constant" or crepa.decay_steps > 0)


@dataclass(frozen=True)
class TrainState:
    """step: optimizer steps done. tensors: "adapter.…" and "optimizer.…". sampler: its state. seconds: of training so far.

    origin: the checkpoint elsewhere that the run was begun from, "" for none. precision: of the base's weights in the last
    part of the run, "" where it is not known.
    """

    step: int
    tensors: Mapping[str, Tensor]
    sampler: Mapping[str, int]
    facts: Mapping[str, Any]
    seconds: float = 0.0
    peak_bytes: int = 0
    origin: str = ""
    precision: str = ""

    def begun_at(self, origin: str) -> TrainState:
        return replace(self, origin=origin)

    def part(self, prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix + "."): t for k, t in self.tensors.items() if k.startswith(prefix + ".")}


@dataclass(frozen=True)
class Checkpointer:
    """Checkpoints ``state-<step>.safetensors`` in ``directory``; those that ``retention`` says stay."""

    directory: Path
    retention: Retention = Retention()

    def path(self, step: int) -> Path:
        return self.directory / f"state-{step:08d}.safetensors"

    def paths(self) -> list[Path]:
        """Newest first."""
        return sorted((p for p in self.directory.glob("state-*.safetensors") if p.stem.removeprefix("state-").isdigit()), reverse=True)

    @staticmethod
    def step_of(path: Path) -> int:
        return int(path.stem.removeprefix("state-"))

    def save(self, state: TrainState) -> Path:
        """Raises LTX2Error on a full disk; checkpoints that were there stay as they were."""
        tensors = {k: t.detach().to("cpu").contiguous() for k, t in state.tensors.items()}
        meta = {"version": VERSION, "step": state.step, "sampler": state.sampler, "facts": state.facts, "seconds": state.seconds, "peak_bytes": state.peak_bytes, "origin": state.origin, "precision": state.precision}
        with atomic_path(self.path(state.step)) as temporary:
            save_file(tensors, temporary, metadata={"ltx2_run": json.dumps(meta)})
        self.let_go()
        return self.path(state.step)

    def let_go(self) -> None:
        """Of checkpoints that ``retention`` does not keep."""
        for step in self.retention.dropped(self.step_of(p) for p in self.paths()):
            self.path(step).unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove what a killed process left half written."""
        for pattern in (".state-*.tmp", ".metrics.jsonl.*.tmp"):
            for leftover in self.directory.glob(pattern):
                leftover.unlink()

    def newest(self) -> tuple[TrainState | None, list[str]]:
        """The newest whole checkpoint, and a sentence for each damaged one that was passed over."""
        messages = []
        for path in self.paths():
            try:
                return load_state(path), messages
            except LTX2Error as error:
                messages.append(f"{error} The one before it is used.")
        return None, messages


def load_state(path: Path) -> TrainState:
    """Raises LTX2Error when the file is damaged or no checkpoint of ours."""
    try:
        with torch.inference_mode(False), safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["ltx2_run"])
            tensors = {k: file.get_tensor(k).clone() for k in file.keys()}  # noqa: SIM118
        if meta["version"] != VERSION:
            raise LTX2Error(f"The checkpoint {path.name} was written by another version of this pack; start a new run in another folder.")
        return TrainState(meta["step"], tensors, meta["sampler"], meta["facts"], meta["seconds"], meta["peak_bytes"], meta.get("origin", ""), meta.get("precision", ""))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise LTX2Error(f"The checkpoint {path} is damaged ({error}).") from error


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {k: v for name, item in value.items() for k, v in _flat(item, f"{prefix}.{name}" if prefix else name).items()}


def check_same_run(saved: Mapping[str, Any], facts: Facts, directory: Path) -> None:
    """Raises LTX2Error naming the first difference when ``directory`` belongs to another run.

    A setting that the pack did not have when the run began counts as its default, so that a run outlives an update; those of
    methods inside the settings too.
    """
    ours, written = _flat(json.loads(json.dumps(facts.to_dict()))), _flat(saved)
    theirs = _flat({**saved, "settings": with_defaults(RunConfig, saved["settings"])})
    theirs = {k: v for k, v in theirs.items() if k in ours or k in written}
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            name = key.removeprefix("settings.")
            raise LTX2Error(
                f"The folder {directory} holds another run: {name} was {theirs.get(key)!r} there and is {ours.get(key)!r} now; "
                "choose another folder, or put the setting back to go on."
            )
