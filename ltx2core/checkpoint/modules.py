"""The linear layers of the 2.0 transformer that adapters may touch, by the file's original names."""

from __future__ import annotations

from .keymap import TRANSFORMER_SEGMENTS

ATTENTIONS = ("attn1", "attn2", "audio_attn1", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn")
FEED_FORWARDS = ("ff", "audio_ff")
_BLOCK = tuple(f"{a}.{p}" for a in ATTENTIONS for p in ("to_q", "to_k", "to_v", "to_out.0")) + tuple(
    f"{f}.{p}" for f in FEED_FORWARDS for p in ("net.0.proj", "net.2")
)
_ADALN = ("adaln_single", "audio_adaln_single", *(s for s in TRANSFORMER_SEGMENTS if s.startswith("av_ca_")))
_TOP = (
    "patchify_proj", "audio_patchify_proj", "proj_out", "audio_proj_out",
    *(f"{c}.{p}" for c in ("caption_projection", "audio_caption_projection") for p in ("linear_1", "linear_2")),
    *(f"{a}.{p}" for a in _ADALN for p in ("linear", "emb.timestep_embedder.linear_1", "emb.timestep_embedder.linear_2")),
)  # fmt: skip


def linear_modules(layers: int) -> tuple[str, ...]:
    """Original names of every linear layer of a transformer of ``layers`` blocks."""
    return _TOP + tuple(f"transformer_blocks.{i}.{m}" for i in range(layers) for m in _BLOCK)


def to_diffusers(module: str) -> str:
    return ".".join(TRANSFORMER_SEGMENTS.get(s, s) for s in module.split("."))


_BACK = {d: o for o, d in TRANSFORMER_SEGMENTS.items()}


def to_original(module: str) -> str:
    return ".".join(_BACK.get(s, s) for s in module.split("."))
