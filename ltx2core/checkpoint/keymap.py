"""Key names of a combined LTX-2 file and of diffusers' modules, as immutable data that reads both ways.

Facts from the official file layout (prefixes, names) and diffusers' class attributes. Only the video VAE renumbers its
blocks; everything else renames whole dot-separated segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class KeyMap:
    """Maps file keys to module keys and back.

    prefixes: (file prefix, module prefix) pairs; the longest that fits is replaced.
    segments: file segment -> module segment, applied to what follows the prefix.
    dropped: file keys under the prefixes that no module has (statistics that only training of the VAE used).
    excluded: longer file prefixes that belong to another component.
    """

    prefixes: tuple[tuple[str, str], ...]
    segments: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    excluded: tuple[str, ...] = ()

    def owns(self, key: str) -> bool:
        return any(key.startswith(f) for f, _ in self.prefixes) and not key.startswith(self.excluded or ("\0",))

    def to_module(self, key: str) -> str | None:
        """Module key of a file key; None for a key that is known and dropped."""
        return None if key in self.dropped else _rename(key, self.prefixes, self.segments)

    def to_file(self, key: str) -> str:
        return _rename(key, tuple((m, f) for f, m in self.prefixes), {m: f for f, m in self.segments.items()})


def _rename(key: str, prefixes: tuple[tuple[str, str], ...], segments: Mapping[str, str]) -> str:
    old, new = max((p for p in prefixes if key.startswith(p[0])), key=lambda p: len(p[0]))
    rest = key[len(old) :].split(".")
    return new + ".".join(segments.get(s, s) for s in rest)


DIT = "model.diffusion_model."
_QK_NORM = {"q_norm": "norm_q", "k_norm": "norm_k"}

TRANSFORMER_SEGMENTS: Mapping[str, str] = MappingProxyType(
    {
        "patchify_proj": "proj_in",
        "audio_patchify_proj": "audio_proj_in",
        "adaln_single": "time_embed",
        "audio_adaln_single": "audio_time_embed",
        "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
        "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
        "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
        "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
        "scale_shift_table_a2v_ca_video": "video_a2v_cross_attn_scale_shift_table",
        "scale_shift_table_a2v_ca_audio": "audio_a2v_cross_attn_scale_shift_table",
        **_QK_NORM,
    }
)

TRANSFORMER = KeyMap(
    prefixes=((DIT, ""),),
    segments=TRANSFORMER_SEGMENTS,
    excluded=(DIT + "video_embeddings_connector.", DIT + "audio_embeddings_connector."),
)

CONNECTORS = KeyMap(
    prefixes=(
        (DIT + "video_embeddings_connector.", "video_connector."),
        (DIT + "audio_embeddings_connector.", "audio_connector."),
        ("text_embedding_projection.aggregate_embed.", "text_proj_in."),
    ),
    segments=MappingProxyType({"transformer_1d_blocks": "transformer_blocks", **_QK_NORM}),
)


def _video_vae_prefixes(stages: int = 4, ups: int = 3) -> tuple[tuple[str, str], ...]:
    """Encoder blocks alternate resnets and downsampler, the last is the middle; the decoder begins with its middle."""
    pairs = [("vae.", ""), ("vae.per_channel_statistics.", "")]
    for i in range(stages):
        pairs.append((f"vae.encoder.down_blocks.{2 * i}.", f"encoder.down_blocks.{i}."))
        pairs.append((f"vae.encoder.down_blocks.{2 * i + 1}.", f"encoder.down_blocks.{i}.downsamplers.0."))
    pairs.append((f"vae.encoder.down_blocks.{2 * stages}.", "encoder.mid_block."))
    pairs.append(("vae.decoder.up_blocks.0.", "decoder.mid_block."))
    for i in range(ups):
        pairs.append((f"vae.decoder.up_blocks.{2 * i + 1}.", f"decoder.up_blocks.{i}.upsamplers.0."))
        pairs.append((f"vae.decoder.up_blocks.{2 * i + 2}.", f"decoder.up_blocks.{i}."))
    return tuple(pairs)


_STATISTICS = {"mean-of-means": "latents_mean", "std-of-means": "latents_std"}
_UNUSED_STATISTICS = ("channel", "mean-of-stds", "mean-of-stds_over_std-of-means")


class _StatisticsMap(KeyMap):
    """A VAE's map: its two latent statistics sit in a sub-module in the file and on the module itself here."""

    def to_file(self, key: str) -> str:
        root = self.prefixes[0][0]
        back = {m: f for f, m in _STATISTICS.items()}
        return f"{root}per_channel_statistics.{back[key]}" if key in back else super().to_file(key)


def _vae_map(root: str, prefixes: tuple[tuple[str, str], ...], segments: Mapping[str, str]) -> KeyMap:
    return _StatisticsMap(
        prefixes=prefixes,
        segments=MappingProxyType({**segments, **_STATISTICS}),
        dropped=frozenset(f"{root}per_channel_statistics.{s}" for s in _UNUSED_STATISTICS),
    )


VIDEO_VAE = _vae_map("vae.", _video_vae_prefixes(), {"res_blocks": "resnets"})
AUDIO_VAE = _vae_map("audio_vae.", (("audio_vae.", ""), ("audio_vae.per_channel_statistics.", "")), {})
VOCODER = KeyMap(
    prefixes=(("vocoder.", ""),),
    segments=MappingProxyType({"conv_pre": "conv_in", "conv_post": "conv_out", "ups": "upsamplers", "resblocks": "resnets"}),
)

COMPONENTS: Mapping[str, KeyMap] = MappingProxyType(
    {"transformer": TRANSFORMER, "connectors": CONNECTORS, "video_vae": VIDEO_VAE, "audio_vae": AUDIO_VAE, "vocoder": VOCODER}
)
