"""The captions of a clip."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..errors import LTX2Error
from ..files import atomic_path
from ..safe_paths import inside
from .seeds import drawer
from .spec import CaptionShuffle, DatasetSpec
from .tables import CaptionTable

CaptionSource = Callable[[Path], tuple[str, ...]]

_LONGEST = 1 << 20  # bytes of a caption file; Gemma reads 1024 tokens of it
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def _read(sidecar: Path) -> str:
    """UTF-8, or what the file's byte-order mark says (Windows editors write UTF-16)."""
    try:
        if sidecar.stat().st_size > _LONGEST:
            raise LTX2Error(f"has a caption file {sidecar.name} of more than a megabyte; put the caption alone there")
        raw = sidecar.read_bytes()
        return raw.decode(next((name for mark, name in _MARKS.items() if raw.startswith(mark)), "utf-8"))
    except UnicodeDecodeError as error:
        raise LTX2Error(f"has a caption file {sidecar.name} that is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise LTX2Error(f"has a caption file {sidecar.name} that cannot be read ({error.strerror}); check its permissions") from error


def _clean(text: str) -> str:
    """One line; control characters, which no tokenizer means, become spaces (joiners inside words and emoji stay)."""
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text).split())


def textfile(sidecar: Path, lines: str = "whole", where: str = "beside it") -> tuple[str, ...]:
    """The captions of the file ``sidecar``: one, or with ``lines`` "each" one a line.

    Raises:
        LTX2Error: none, empty or unreadable; the message is the reason.
    """
    if not sidecar.is_file():
        raise LTX2Error(f"has no caption: write one into {sidecar.name} {where}, or choose caption_strategy filename or instanceprompt")
    text = _read(sidecar)
    captions = tuple(c for part in (text.splitlines() if lines == "each" else [text]) if (c := _clean(part)))
    if not captions:
        raise LTX2Error(f"has an empty caption file {sidecar.name}; describe the clip there")
    return captions


def write_textfile(folder: Path, clip: str, caption: str, overwrite: bool = False) -> Path:
    """Write the caption file of ``clip`` (its path inside the dataset's folder) in ``folder``, whole or not at all; returns its path.

    Args:
        overwrite: whether one that is there is written anew; otherwise it stays, as a person may have corrected it.

    Raises:
        LTX2Error: an empty caption, a clip that leads out of ``folder``, or a folder that can't be written to.
    """
    text = _clean(caption)
    if not text:
        raise LTX2Error(f"The caption for {clip} is empty; describe the clip.")
    sidecar = inside(str(Path(clip).with_suffix(".txt")), folder, [folder]) if clip.strip() else folder
    if sidecar == folder:
        raise LTX2Error("A caption has no clip that it belongs to; wire the clips' names too.")
    try:
        if sidecar.is_file() and not overwrite:
            return sidecar
        with atomic_path(sidecar) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise LTX2Error(f"The caption {sidecar.name} cannot be written ({error.strerror}); check the folder's permissions and the length of the name.") from error
    return sidecar


def filename(path: Path) -> tuple[str, ...]:
    """The name without its ending, with spaces for lines and dashes."""
    caption = _clean(path.stem.replace("_", " ").replace("-", " "))
    if not caption:
        raise LTX2Error("has a name that gives no caption; give it a name of words")
    return (caption,)


def shuffled(caption: str, settings: CaptionShuffle, seed: int, name: str) -> tuple[str, ...]:
    """Further orders of the parts of ``caption``, without doubles; a caption of fewer than two free parts stays alone."""
    parts = [p.strip() for p in caption.split(settings.split_on) if p.strip()]
    fixed, free = parts[: settings.keep_first], parts[settings.keep_first :]
    if len(free) < 2:
        return (caption,)
    draw, glue = drawer(seed, "captions", name, caption), f"{settings.split_on.strip() or settings.split_on} ".replace("  ", " ")
    orders = [glue.join([*fixed, *draw.sample(free, len(free))]) for _ in range(settings.count)]
    return tuple(dict.fromkeys([caption, *orders] if settings.include_original else orders))


def _sidecar(spec: DatasetSpec, path: Path) -> tuple[str, ...]:
    """The captions of ``path`` in the file beside it, or of its name in ``caption_folder``."""
    if not spec.caption_folder:
        return textfile(path.with_suffix(".txt"), spec.caption_lines)
    folder = Path(spec.caption_folder).expanduser()
    inner = path.relative_to(Path(spec.folder).expanduser()).with_suffix(".txt")
    return textfile(folder / inner, spec.caption_lines, f"in {folder}")


def open_captions(spec: DatasetSpec) -> CaptionSource:
    """A function that gives a file's captions, the trigger in front; it raises LTX2Error with the reason for dropping it.

    Raises:
        LTX2Error: the caption table is missing or can't be read.
    """
    sources: dict[str, Callable[[], CaptionSource]] = {
        "textfile": lambda: partial(_sidecar, spec),
        "filename": lambda: filename,
        "instanceprompt": lambda: lambda path: (spec.instance_prompt.strip(),),
    }
    source = sources.get(spec.caption_strategy, lambda: CaptionTable(spec))()
    trigger, folder = spec.trigger.strip(), Path(spec.folder).expanduser()

    def captions(path: Path) -> tuple[str, ...]:
        found = source(path)
        if spec.caption_shuffle is not None:
            name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
            found = tuple(s for c in found for s in shuffled(c, spec.caption_shuffle, spec.seed, name))
        return tuple(f"{trigger} {c}" for c in found) if trigger else found

    return captions
