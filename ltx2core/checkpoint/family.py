"""The model family, chosen from a file's own header: one frozen record a version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..geometry import LTX2_COMPRESSION, Compression
from . import keymap
from .header import CheckpointError, Header


@dataclass(frozen=True)
class Family:
    """What differs between versions of the model.

    components maps a component's name to its key map; empty for a family that is recognised but not supported.
    """

    name: str
    label: str
    text_encoder: str
    supported: bool
    components: Mapping[str, keymap.KeyMap] = field(default_factory=dict)
    compression: Compression = LTX2_COMPRESSION
    text_tokens: int = 1024


LTX_2_0 = Family("2.0", "LTX-2 19B", "gemma3", True, keymap.COMPONENTS)
# Recognised so that a person is told what the file is; the prefixes are enough to describe one.
_LATER = MappingProxyType({
    "transformer": keymap.TRANSFORMER,
    "connectors": keymap.KeyMap(prefixes=(
        (keymap.DIT + "video_embeddings_connector.", "video_connector."),
        (keymap.DIT + "audio_embeddings_connector.", "audio_connector."),
        ("text_embedding_projection.", ""),
    )),
    "video_vae": keymap.KeyMap(prefixes=(("vae.", ""),)),
    "audio_vae": keymap.KeyMap(prefixes=(("audio_vae.", ""),)),
    "vocoder": keymap.KeyMap(prefixes=(("vocoder.", ""),)),
    "duration_head": keymap.KeyMap(prefixes=(("duration_head.", ""),)),
})  # fmt: skip
LTX_2_3 = Family("2.3", "LTX-2.3 22B", "gemma3", False, _LATER)
LTX_2_5 = Family("2.5", "LTX-2.5 22B", "gemma4", False, _LATER)
FAMILIES: Mapping[str, Family] = MappingProxyType({f.name: f for f in (LTX_2_0, LTX_2_3, LTX_2_5)})


def _version(text: str | None) -> tuple[int, int] | None:
    """Major and minor of "2.3.rc1", "2.4-rc2", "2"; None when absent or not a number."""
    match = re.match(r"v?(\d+)(?:\.(\d+))?", text or "")
    return (int(match[1]), int(match[2] or 0)) if match else None


def detect_family(header: Header) -> Family:
    """Family by ``model_version`` (absent before 2.3) and the transformer's own configuration.

    Raises:
        CheckpointError: no LTX-2 transformer in the file, or a version that is not known.
    """
    tensors = header.tensors
    if keymap.DIT + "audio_patchify_proj.weight" not in tensors:
        what = "a video-only LTX model" if keymap.DIT + "patchify_proj.weight" in tensors else "not an LTX-2 checkpoint"
        raise CheckpointError(
            f"{header.path.name} is {what}: it has no audio-video transformer; choose the combined LTX-2 file (ltx-2-19b-dev.safetensors)."
        )
    config = header.config.get("transformer", {})
    version = _version(header.metadata.get("model_version"))
    if version is None:
        version = (2, 3) if config.get("caption_proj_before_connector") or config.get("cross_attention_adaln") else (2, 0)
    if version < (2, 3):
        return LTX_2_0
    # 2.4 was the pre-release name of 2.5.
    family = {(2, 3): LTX_2_3, (2, 4): LTX_2_5, (2, 5): LTX_2_5}.get(version)
    if family is None:
        raise CheckpointError(f"{header.path.name} is of version {version[0]}.{version[1]}, which this pack does not know; use an LTX-2 19B file.")
    return family


def require_supported(family: Family, header: Header) -> None:
    if not family.supported:
        raise CheckpointError(f"{header.path.name} is {family.label} (version {family.name}); this pack trains LTX-2 19B (version 2.0). Choose ltx-2-19b-dev.safetensors.")
