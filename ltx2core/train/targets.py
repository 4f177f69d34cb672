"""Which linear layers an adapter changes: named sets of full module paths, never suffixes.

A suffix such as ``to_k`` would hit all six attentions of a block, whatever the person wanted.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from ..checkpoint.modules import linear_modules, to_diffusers
from ..errors import LTX2Error

_VIDEO = ("attn1", "attn2")
_AUDIO = ("audio_attn1", "audio_attn2")
_CROSS = ("audio_to_video_attn", "video_to_audio_attn")
# Parts of a block in each set.
PARTS: dict[str, tuple[str, ...]] = {
    "video": _VIDEO,
    "video_ff": (*_VIDEO, "ff"),
    "audio": _AUDIO,
    "audio_ff": (*_AUDIO, "audio_ff"),
    "cross_modal": _CROSS,
    "audio_video": (*_VIDEO, *_AUDIO, *_CROSS),
    "all_linear": (*_VIDEO, *_AUDIO, *_CROSS, "ff", "audio_ff"),
    "audio_only": (*_AUDIO, "audio_ff"),
    "ic": (*_VIDEO, "ff"),
}


@dataclass(frozen=True)
class Targets:
    """The layers of one run, in the model's order (diffusers' names), and a sentence about the choice."""

    modules: tuple[str, ...]
    message: str


def all_modules(layers: int) -> tuple[str, ...]:
    """Every linear layer that an adapter may touch, in diffusers' names."""
    return tuple(to_diffusers(m) for m in linear_modules(layers))


def preset_modules(name: str, layers: int) -> tuple[str, ...]:
    """The layers of one set in a model of ``layers`` blocks."""
    parts = PARTS[name]
    blocks = (m.split(".") for m in all_modules(layers) if m.startswith("transformer_blocks."))
    return tuple(".".join(path) for path in blocks if path[2] in parts)


def match_patterns(patterns: tuple[str, ...], layers: int) -> tuple[str, ...]:
    """Layers whose full path one of ``patterns`` matches; ``*`` stands for anything, names may be either spelling.

    Raises:
        LTX2Error: a pattern that matches no layer; the nearest path is named.
    """
    names = {m: to_diffusers(m) for m in linear_modules(layers)}
    chosen: set[str] = set()
    for pattern in patterns:
        hits = {ours for theirs, ours in names.items() if fnmatchcase(ours, pattern) or fnmatchcase(theirs, pattern)}
        if not hits:
            near = difflib.get_close_matches(pattern, list(names.values()), n=1, cutoff=0)
            raise LTX2Error(f"The target {pattern!r} matches no linear layer; give full paths, * for any part, such as {near[0]} or *.attn1.to_k.")
        chosen |= hits
    return tuple(m for m in names.values() if m in chosen)


def choose(targets: str | tuple[str, ...], layers: int, has_audio: bool, audio_only: bool = False) -> Targets:
    """The layers for a LoRA's ``targets``. ``auto``: all attentions, or the video's alone when no clip has sound."""
    if not isinstance(targets, str):
        modules = match_patterns(tuple(targets), layers)
        return Targets(modules, f"The LoRA changes {len(modules)} linear layers chosen by pattern.")
    if targets != "auto":
        modules = preset_modules(targets, layers)
        return Targets(modules, f"The LoRA changes the {len(modules)} linear layers of the set {targets}.")
    name = "audio_video" if has_audio else "video"
    name = "audio_only" if audio_only else name
    modules = preset_modules(name, layers)
    why = "sound is trained alone" if audio_only else "clips have sound" if has_audio else "no clip has sound"
    return Targets(modules, f"The LoRA changes the {len(modules)} linear layers of the set {name}, because {why}.")


def check_present(model: nn.Module, modules: tuple[str, ...]) -> None:
    """Raises LTX2Error when the model lacks one of ``modules`` or it is no linear layer."""
    have = dict(model.named_modules())
    for name in modules:
        if not isinstance(have.get(name), nn.Linear):
            raise LTX2Error(f"The model has no linear layer {name}; choose targets of this model.")
