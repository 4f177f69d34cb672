"""The caption of a clip."""

from __future__ import annotations

from pathlib import Path

from ..errors import LTX2Error
from .spec import DatasetSpec


def _textfile(path: Path, spec: DatasetSpec) -> str:
    sidecar = path.with_suffix(".txt")
    if not sidecar.is_file():
        raise LTX2Error(f"has no caption: write one into {sidecar.name} beside it, or choose caption_strategy filename or instanceprompt")
    try:
        text = sidecar.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LTX2Error(f"has a caption file {sidecar.name} that is not UTF-8 text; save it as UTF-8") from error
    if not text.strip():
        raise LTX2Error(f"has an empty caption file {sidecar.name}; describe the clip there")
    return " ".join(text.split())


def _filename(path: Path, spec: DatasetSpec) -> str:
    return " ".join(path.stem.replace("_", " ").replace("-", " ").split())


def _instance(path: Path, spec: DatasetSpec) -> str:
    return spec.instance_prompt.strip()


_STRATEGIES = {"textfile": _textfile, "filename": _filename, "instanceprompt": _instance}


def caption_of(path: Path, spec: DatasetSpec) -> str:
    """The clip's caption with the trigger in front.

    Raises:
        LTX2Error: no caption; the message is the reason for dropping the clip.
    """
    caption = _STRATEGIES[spec.caption_strategy](path, spec)
    return f"{spec.trigger.strip()} {caption}" if spec.trigger.strip() else caption
