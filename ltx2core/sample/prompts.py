"""Prompt libraries: names and prompts from JSON, encoded once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..cache.store import Store
from ..cache.text import cache_prompts, read_features
from ..checkpoint.combined import Checkpoint
from ..errors import LTX2Error
from ..strict import nearest
from ..text.features import TextFeatures
from ..text.source import TextEncoderSource

_BUILT_IN = Path(__file__).with_name("prompts.json")


@dataclass(frozen=True)
class PromptLibrary:
    """Prompts in their order, each with a name that is used in file names and labels."""

    prompts: tuple[tuple[str, str], ...]

    def only(self, names: Sequence[str]) -> PromptLibrary:
        """The prompts of these names, in the library's order; all of them when ``names`` is empty.

        Raises:
            LTX2Error: an unknown name; the nearest known one is named.
        """
        known = dict(self.prompts)
        for name in names:
            if name not in known:
                raise LTX2Error(f"The prompt library has no prompt called {name!r}; {nearest(name, known)}")
        return PromptLibrary(tuple(p for p in self.prompts if p[0] in names)) if names else self


def built_in() -> PromptLibrary:
    """A short set that covers motion, faces, hands, camera moves, speech, music and stillness."""
    return read_library(_BUILT_IN)


def read_library(path: str | os.PathLike) -> PromptLibrary:
    """A JSON file ``{"name": "prompt", ...}``.

    Raises:
        LTX2Error: unreadable, or not of that form.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LTX2Error(f"The prompt library {path} cannot be read ({error}); give the path of a JSON file of names and prompts.") from error
    return parse_library(text, f"The prompt library {path.name}")


def _pairs(pairs: list[tuple[str, object]]) -> dict:
    names = [name for name, _ in pairs]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise ValueError(f"the name {twice!r} is there twice")
    return dict(pairs)


def parse_library(text: str, what: str = "The prompt library") -> PromptLibrary:
    """The same from JSON text.

    Raises:
        LTX2Error: not JSON, not names and prompts, a name twice, or nothing in it.
    """
    try:
        raw = json.loads(text, object_pairs_hook=_pairs)
    except ValueError as error:
        raise LTX2Error(f'{what} is no JSON of names and prompts ({error}); write {{"name": "prompt", ...}}.') from error
    if not isinstance(raw, Mapping) or not raw:
        raise LTX2Error(f'{what} holds no prompts; write {{"name": "prompt", ...}}.')
    for name, prompt in raw.items():
        if not isinstance(prompt, str) or not name.strip():
            raise LTX2Error(f"{what}: the entry {name!r} is not a name with a text; write every prompt as text in quotes.")
    return PromptLibrary(tuple(raw.items()))


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt with its features, read from disk when they are needed; ``held``: features that lie in memory instead."""

    name: str
    text: str
    key: str
    store: Store | None = field(default=None, repr=False)
    held: TextFeatures | None = field(default=None, repr=False)

    def features(self) -> TextFeatures:
        """[1, 1024, D] bfloat16."""
        return self.held if self.held is not None else read_features(self.store, self.key)


@dataclass(frozen=True)
class EncodedPrompts:
    """What the wire LTX2_PROMPTS carries."""

    prompts: tuple[EncodedPrompt, ...]
    negative: EncodedPrompt


def from_features(name: str, features: TextFeatures, text: str = "") -> EncodedPrompt:
    """A prompt that was encoded elsewhere; its key is made of its numbers."""
    digest = hashlib.sha256()
    for tensor in (features.video, features.audio):
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return EncodedPrompt(name, text, digest.hexdigest(), held=features)


def encode_library(
    library: PromptLibrary, negative: str, checkpoint: Checkpoint, source: TextEncoderSource, store: Store, **services
) -> EncodedPrompts:
    """Every prompt and the negative one; the text encoder is loaded only for prompts that the store lacks.

    Args:
        services: residency, reporter, stop.

    Raises:
        LTX2Error: the text encoder does not fit the checkpoint.
        Interrupted: a person asked to stop; finished prompts are kept.
    """
    texts = list(dict.fromkeys([*(text for _, text in library.prompts), negative]))
    keys = cache_prompts(texts, checkpoint, source, store, **services)
    prompts = tuple(EncodedPrompt(name, text, keys[text], store) for name, text in library.prompts)
    return EncodedPrompts(prompts, EncodedPrompt("negative", negative, keys[negative], store))
