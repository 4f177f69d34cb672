"""The checkpoint and the text encoder, by their headers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..checkpoint.combined import Checkpoint, open_checkpoint
from ..errors import LTX2Error
from ..models.build import hidden_states_needed
from ..text.source import TextEncoderSource, check_matches, open_text_encoder
from .finding import ERROR, INFO, Finding


@dataclass(frozen=True)
class Opened:
    """None for what could not be opened."""

    checkpoint: Checkpoint | None
    text_encoder: TextEncoderSource | None


def open_both(checkpoint: str, text_encoder: str) -> tuple[Opened, list[Finding]]:
    """Only headers are read. An empty path is passed over: a run of caches needs no text encoder."""
    opened, findings = {"checkpoint": None, "text_encoder": None}, []
    for name, path, opener, advice in (
        ("checkpoint", checkpoint, open_checkpoint, "Give the path of the combined LTX-2 19B file."),
        ("text_encoder", text_encoder, open_text_encoder, "Give the path of Gemma3 12B, a file for ComfyUI or a folder of the hub."),
    ):  # fmt: skip
        try:
            opened[name] = opener(path) if path else None
        except LTX2Error as error:
            findings.append(Finding(ERROR, name, str(error), advice))
    return Opened(**opened), findings


def models(opened: Opened) -> Iterable[Finding]:
    checkpoint, source = opened.checkpoint, opened.text_encoder
    if checkpoint is not None:
        text = f"{checkpoint.path.name} is {checkpoint.family.label}, flavour {checkpoint.flavour}, {checkpoint.header.file_size / 2**30:.1f} GiB."
        yield Finding(INFO, "checkpoint", text, "Choose another file if this is not the one you meant.")
    if checkpoint is not None and source is not None:
        try:
            check_matches(source, *hidden_states_needed(checkpoint))
            yield Finding(INFO, "text_encoder", f"{source.path.name} fits the checkpoint: {source.num_layers} layers of width {source.hidden_size}.", "Nothing has to be changed.")
        except LTX2Error as error:
            yield Finding(ERROR, "text_encoder", str(error), "Choose the text encoder that the checkpoint was made for.")
