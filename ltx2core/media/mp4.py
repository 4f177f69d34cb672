"""What the boxes of an MP4 or QuickTime file say without decoding, which costs a hundred times more: its turn, and whether it is whole.

Boxes and the track header's matrix are laid out as in ISO/IEC 14496-12, sections 4.2 and 8.3.2.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_NESTED = (b"moov", b"trak")
_MOST_BOXES = 10_000  # a broken file may claim any number


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, first byte of the content, byte after it) of the boxes in ``begin`` .. ``end`` and inside those that nest."""
    while begin + 8 <= end:
        file.seek(begin)
        size, kind = struct.unpack(">I4s", file.read(8))
        content = begin + 8
        if size == 1:
            size, content = struct.unpack(">Q", file.read(8))[0], begin + 16
        stop = end if size == 0 else begin + size
        if stop > end or stop < content:
            return
        yield kind, content, stop
        if kind in _NESTED:
            yield from _boxes(file, content, stop)
        begin = stop


def is_whole(path: Path) -> bool:
    """Whether the outermost boxes reach exactly to the end of the file. A file that was cut short may still tell its tags and length."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            # Boxes inside others end before these do.
            return length > 0 and max((stop for _, _, stop in _boxes(file, 0, length)), default=0) == length
    except (OSError, struct.error):
        return False


def turned(path: Path) -> int | None:
    """Degrees in 0, 90, 180, 270 by which the first picture track is turned counter-clockwise to be shown.

    None where the header doesn't say it plainly (not such a file, broken, mirrored or slanted).
    """
    try:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            for number, (kind, content, stop) in enumerate(_boxes(file, 0, length)):
                if number > _MOST_BOXES:
                    return None
                if kind == b"tkhd" and stop - content >= 84:
                    file.seek(content)
                    raw = file.read(stop - content)
                    at = 52 if raw[0] == 1 else 40
                    a, b, _, c, d, _, _, _, _, width, height = struct.unpack(">9iII", raw[at : at + 44])
                    if width and height:
                        return _degrees(a / 65536, b / 65536, c / 65536, d / 65536)
    except (OSError, struct.error, IndexError):
        return None
    return None


def _degrees(a: float, b: float, c: float, d: float) -> int | None:
    """The matrix (a b; c d) of a turn by an angle t is (cos t, sin t; -sin t, cos t), clockwise on a screen."""
    if abs(a * d - b * c - 1) > 1e-2 or abs(a - d) > 1e-2 or abs(b + c) > 1e-2:
        return None
    angle = math.degrees(math.atan2(b, a))
    return None if abs(angle - 90 * round(angle / 90)) > 1 else -round(angle / 90) % 4 * 90
