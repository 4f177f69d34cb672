"""One large file over HTTP that goes on where it was cut, in this run or a later one.

The hub library's own download begins anew in every process since it gave each a temporary file of its own, which costs a
person with a slow line all 7 GiB of an adapter.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from .protocols import Interrupted, Progress, Reporter, StopSignal

_CHUNK = 2**20
_TIMEOUT = 30.0  # seconds without a byte
_ATTEMPTS = 5  # in a row that bring nothing


@dataclass(frozen=True)
class Remote:
    """url after redirects; size in bytes; sha256 in hex, or None where the server does not say it."""

    url: str
    headers: Mapping[str, str]
    size: int
    sha256: str | None = None


class BrokenDownload(OSError):
    """The line was cut again and again, or the bytes are not those of the file."""


def _append(remote: Remote, part: Path, name: str, reporter: Reporter | None, stop: StopSignal | None) -> int:
    """Asks for what ``part`` lacks, appends what comes, and returns how many bytes came."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(remote.url, headers={**remote.headers, **({"Range": f"bytes={start}-"} if start else {})})
    came = 0
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        if response.status == 200:
            start = 0  # the server knows no ranges
        with part.open("ab" if start else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                came += len(chunk)
                if stop is not None and stop.requested():
                    raise Interrupted(f"The download of {name} stopped at {(start + came) / 2**30:.2f} GiB; queue again to go on there.")
                if reporter is not None:
                    reporter.progress(Progress("download", start + came, remote.size, name))
    return came


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(remote: Remote, target: Path, name: str, reporter: Reporter | None = None, stop: StopSignal | None = None) -> Path:
    """``target``, complete and checked; what has come so far lies beside it until then.

    Raises:
        BrokenDownload: nothing comes any more, or the bytes are wrong (they are then thrown away).
        OSError: unreachable, refused, or no room on the disk.
        Interrupted: a person asked to stop.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part, idle = target.with_name(f"{target.name}.part"), 0
    with FileLock(target.with_name(f"{target.name}.part.lock")):
        if target.exists():
            return target
        while (part.stat().st_size if part.exists() else 0) < remote.size:
            try:
                idle = 0 if _append(remote, part, name, reporter, stop) else idle + 1
            except (ConnectionError, TimeoutError, http.client.HTTPException):
                idle += 1
                if idle >= _ATTEMPTS:
                    raise
            if idle >= _ATTEMPTS:
                raise BrokenDownload(f"the server sent no more than {part.stat().st_size} of {remote.size} bytes")
        if part.stat().st_size != remote.size or (remote.sha256 and _sha256(part) != remote.sha256):
            part.unlink()
            raise BrokenDownload("the bytes that came are not those of the file; they were thrown away")
        os.replace(part, target)
    return target
