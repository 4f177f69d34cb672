"""What an entry's name is made of: everything that changes its numbers, and nothing else."""

from __future__ import annotations

import hashlib
import json

# Raised when the way of encoding changes, so that older entries are not taken for new ones.
ENCODING_VERSION = 1


def content_key(**facts: object) -> str:
    """sha256 over canonical JSON of ``facts`` (strings, numbers, lists)."""
    blob = json.dumps({"encoding": ENCODING_VERSION, **facts}, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(blob.encode("utf-8")).hexdigest()


def latents_key(
    source_digest: str, family: str, vae: str, audio_vae: str | None, width: int, height: int, frames: int, start: float, frame_rate: float,
    **reading: object,
) -> str:
    """Key of one clip's latents. ``vae``/``audio_vae`` are weight fingerprints; ``audio_vae`` None when sound is off.

    Args:
        reading: what else decides how the clip is read (``data.read.reading_facts``); nothing for a plain clip.
    """
    return content_key(
        kind="latents", source=source_digest, family=family, vae=vae, audio_vae=audio_vae,
        size=[width, height, frames], start=round(start, 6), frame_rate=round(frame_rate, 6), **reading,
    )  # fmt: skip


def text_key(prompt: str, family: str, text_encoder: str, connectors: str) -> str:
    """Key of one prompt's features after the connectors; ``prompt`` as it is tokenised (stripped)."""
    return content_key(kind="text", prompt=prompt.strip(), family=family, text_encoder=text_encoder, connectors=connectors)
