"""Looking after a cache folder: is every entry whole, what does it hold, and what is no longer used."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import LTX2Error
from ..files import half_written
from ..protocols import Progress, Reporter
from .claims import clear_locks
from .dataset import MANIFESTS, MASKS, DatasetCache
from .digests import LEDGER, Ledger
from .store import DamagedEntry, Store

_DAY = 24 * 3600.0
_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Entry:
    """One file of tensors. kind: "latents", "text", or what else keeps entries here."""

    path: Path
    kind: str
    key: str
    bytes: int
    written: float


@dataclass(frozen=True)
class Kind:
    entries: int
    bytes: int


@dataclass(frozen=True)
class Contents:
    """manifests: sets that were cached. unused: entries that none of them names, such as prompts of samples."""

    kinds: dict[str, Kind]
    manifests: int
    unused: Kind
    half_written: Kind


@dataclass(frozen=True)
class Verified:
    """damaged: path -> reason. lacking: manifest -> how many of its entries are gone or damaged."""

    entries: int
    damaged: dict[Path, str]
    lacking: dict[Path, int]


@dataclass(frozen=True)
class Removed:
    """entries: by kind, what was removed, or would be."""

    kinds: dict[str, Kind]
    half_written: Kind

    @property
    def bytes(self) -> int:
        return sum(k.bytes for k in self.kinds.values()) + self.half_written.bytes


def _checked(root: Path) -> Path:
    if not root.is_dir() or not any((root / name).exists() for name in (MANIFESTS, LEDGER)):
        raise LTX2Error(f"{root} is no cache; give the folder that holds {LEDGER} and {MANIFESTS}.")
    return root


def entries(root: Path) -> Iterator[Entry]:
    """Every entry, by name; half-written files are none."""
    for path in sorted(root.glob(f"*/??/*{_SUFFIX}")):
        if path.name.startswith(".") or path.parent.name != path.name[:2]:
            continue
        state = path.stat()
        yield Entry(path, path.parent.parent.name, path.name.removesuffix(_SUFFIX), state.st_size, state.st_mtime)


def _named(manifest: Path) -> set[tuple[str, str]]:
    """(kind, key) of everything that a set reads."""
    cache = DatasetCache.load(manifest)
    masks = {(MASKS, c.mask) for c in cache.clips if c.mask}
    return {("latents", c.latents) for c in cache.clips} | {("text", c.text) for c in cache.clips} | {("text", cache.empty_text)} | masks


def _manifests(root: Path) -> list[Path]:
    return sorted((root / MANIFESTS).glob("*.json"))


def _kinds(found: list[Entry]) -> dict[str, Kind]:
    counts, sizes = Counter(e.kind for e in found), Counter()
    for entry in found:
        sizes[entry.kind] += entry.bytes
    return {kind: Kind(counts[kind], sizes[kind]) for kind in sorted(counts)}


def _sum(paths: list[Path]) -> Kind:
    return Kind(len(paths), sum(p.stat().st_size for p in paths))


def stats(root: Path) -> Contents:
    """What the folder holds; nothing is read but names, sizes and manifests.

    Raises:
        LTX2Error: no cache, or a manifest that cannot be read.
    """
    found, named = list(entries(_checked(root))), set().union(*map(_named, _manifests(root)))
    unused = [e for e in found if (e.kind, e.key) not in named]
    return Contents(_kinds(found), len(_manifests(root)), Kind(len(unused), sum(e.bytes for e in unused)), _sum(half_written(root, recursive=True)))


def verify(root: Path, reporter: Reporter) -> Verified:
    """Read every entry and compare it with its checksum. A damaged one is made again when its dataset is cached next.

    Raises:
        LTX2Error: no cache.
    """
    store, found, damaged = Store(_checked(root)), list(entries(root)), {}
    with Ledger(root) as ledger:
        for done, entry in enumerate(found, 1):
            try:
                store.read(entry.kind, entry.key)
            except DamagedEntry as error:
                damaged[entry.path] = str(error)
                ledger.forget(entry.path)
            reporter.progress(Progress("verify", done, len(found), entry.path.name))
    whole = {(e.kind, e.key) for e in found if e.path not in damaged}
    lacking = {}
    for manifest in _manifests(root):
        try:
            missing = len(_named(manifest) - whole)
        except LTX2Error as error:
            damaged[manifest] = str(error)
            continue
        if missing:
            lacking[manifest] = missing
    return Verified(len(found), damaged, lacking)


def collect(root: Path, days: float, dry: bool = False) -> Removed:
    """Remove entries that no manifest names and that were written more than ``days`` ago, and half-written files.

    Sets stay as long as their manifest does: delete ``manifests/NAME.json`` to let one go. A prompt that was only sampled is named
    by none; it is encoded again when it is needed.

    Raises:
        LTX2Error: no cache, a manifest that cannot be read (its entries would be taken for unused), or negative ``days``.
    """
    if days < 0:
        raise LTX2Error(f"days is {days:g}; give 0 or more.")
    named, before = set().union(*map(_named, _manifests(_checked(root)))), time.time() - days * _DAY
    unused = [e for e in entries(root) if (e.kind, e.key) not in named and e.written <= before]
    left = half_written(root, recursive=True)
    removed = Removed(_kinds(unused), _sum(left))
    if dry:
        return removed
    for path in (*(e.path for e in unused), *left):
        path.unlink(missing_ok=True)
    clear_locks(root)
    return removed
