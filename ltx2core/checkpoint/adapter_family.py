"""For which member of the family an adapter was trained, by everything that its file says about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .header import Header

# Keys that say a bare version, then keys whose text names the model somewhere.
_VERSIONS = ("ltx2_family", "model_version")
_TEXTS = ("ss_base_model_version", "modelspec.architecture", "base_model", "base_model_name_or_path", "ss_sd_model_name")
# Modules that 2.0 does not have.
_LATER_MODULES = ("to_gate_logits", "prompt_adaln_single")
_NAMED = re.compile(r"ltx-?_?v?2(?:[._](\d))?(?!\d)", re.IGNORECASE)
# Official file names only, such as ltx-2.3-22b-…: a person may put any number into a name of their own.
_FILE = re.compile(r"ltx-2(?:\.(\d))?-\d+b-", re.IGNORECASE)


@dataclass(frozen=True)
class AdapterFamily:
    """name: as in ``family.FAMILIES``; said_by: where the file says so."""

    name: str
    said_by: str


def _family(minor: str | None) -> str:
    # 2.4 was the pre-release name of 2.5.
    return {"4": "2.5"}.get(minor or "0", f"2.{minor or 0}")


def family_of(header: Header) -> AdapterFamily | None:
    """None when the file says nothing."""
    for key in _VERSIONS:
        if match := re.match(r"v?2(?:\.(\d))?", header.metadata.get(key, "")):
            return AdapterFamily(_family(match[1]), f"its metadata's {key}")
    for key in _TEXTS:
        if match := _NAMED.search(header.metadata.get(key, "")):
            return AdapterFamily(_family(match[1]), f"its metadata's {key}")
    for name in _LATER_MODULES:
        if any(name in key for key in header.tensors):
            return AdapterFamily("2.3", f"its layers {name}, which LTX-2 2.0 does not have")
    if match := _FILE.match(header.path.stem):
        return AdapterFamily(_family(match[1]), "its file name")
    return None
