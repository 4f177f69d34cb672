"""Which process makes an entry: two that fill one cache at once do each entry once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from filelock import FileLock, Timeout

from ..errors import LTX2Error
from .store import Store

T = TypeVar("T")

LOCKS = "locks"
_LOOK_EVERY = 0.5  # seconds between two looks at an entry that another process makes


class Claims:
    """Locks of the operating system, a small file an entry in ``root/locks``: a process that dies lets go of its own."""

    def __init__(self, root: Path):
        self._folder = root / LOCKS
        self._folder.mkdir(parents=True, exist_ok=True)
        self._held: dict[str, FileLock] = {}

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for key in list(self._held):
            self.release(key)

    def take(self, key: str, seconds: float = 0.0) -> bool:
        """Lock ``key``; False when another process still has it after ``seconds``.

        Raises:
            LTX2Error: the disk knows no locks.
        """
        lock = FileLock(self._folder / f"{key}.lock")
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            return False
        except (NotImplementedError, OSError) as error:
            raise LTX2Error(f"No file can be locked in {self._folder} ({error}); put the cache on another disk.") from error
        self._held[key] = lock
        return True

    def release(self, key: str) -> None:
        lock = self._held.pop(key)
        lock.release()
        # Who opened the file before it goes has the lock of a nameless file: harmless, since entries are looked for under the lock.
        with suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)


def clear_locks(root: Path) -> None:
    """Remove the lock files of processes that are gone; what one is still at stays locked."""
    for path in sorted((root / LOCKS).glob("*.lock")):
        with Claims(root) as claims, suppress(LTX2Error):
            claims.take(path.stem)


def rounds(items: Mapping[str, T], kind: str, store: Store, claims: Claims, check: Callable[[], None]) -> Iterator[Iterator[tuple[str, T]]]:
    """The ``items`` (key -> item) that this process is to make, each locked when it comes; in several rounds.

    The first round has all that no other process is at. What another was at comes afterwards, one a round, if that one did
    not finish it. Every key of a round must be released before the next is asked for, so that nobody waits with a lock in
    hand, and no two processes for one another.

    Args:
        check: called while waiting; what it raises ends the work.
    """
    busy: dict[str, T] = {}

    def free() -> Iterator[tuple[str, T]]:
        for key, item in items.items():
            if not claims.take(key):
                busy[key] = item
            # It may have been made since it was found missing.
            elif store.sound(kind, key):
                claims.release(key)
            else:
                yield key, item

    yield free()
    for key, item in busy.items():
        while not claims.take(key, _LOOK_EVERY):
            check()
        if store.sound(kind, key):
            claims.release(key)
        else:
            yield iter([(key, item)])
