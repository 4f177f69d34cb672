"""The attentions between picture and sound, in both directions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from . import ops
from .attention import Heads
from .modulation import Side, rows_of
from .projections import KeyValue, Projection, Query
from .side import Attention, attend_out, attend_out_backward, normed
from .weights import BlockWeights

# Order in the tables: scale and shift towards the picture's attention, then towards the sound's, then the gate.
_TO_VIDEO, _TO_AUDIO, _GATE = 0, 2, 4


@dataclass(frozen=True)
class CrossSpec:
    """One direction, seen from both sides. query and key are prefixes of tables: "video_" or "audio_"."""

    name: str
    query: str
    key: str
    order: int
    heads: int
    eps: float

    @property
    def projection(self) -> Projection:
        return Projection(self.name, self.eps)

    def pair(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(scale, shift) of this direction."""
        return rows[:, self.order], rows[:, self.order + 1]


def directions(heads: int, eps: float) -> tuple[CrossSpec, CrossSpec]:
    """(sound to picture, picture to sound)."""
    return (
        CrossSpec("audio_to_video_attn", "video_", "audio_", _TO_VIDEO, heads, eps),
        CrossSpec("video_to_audio_attn", "audio_", "video_", _TO_AUDIO, heads, eps),
    )


def table_of(prefix: str) -> str:
    return f"{prefix}a2v_cross_attn_scale_shift_table"


@dataclass(frozen=True)
class Modulations:
    """One side's rows for the cross attentions: scales and shifts [B*T, 4, D], gate [B*T, 1, D]."""

    rows: Tensor
    gate: Tensor

    @classmethod
    def of(cls, w: BlockWeights, prefix: str, side: Side) -> Modulations:
        table = w[table_of(prefix)]
        return cls(rows_of(table[:_GATE], side.cross_step), rows_of(table[_GATE:], side.gate))


def query_of(spec: CrossSpec, w: BlockWeights, side: Side, mods: Modulations, h: Tensor) -> Query:
    scale, shift = spec.pair(mods.rows)
    return spec.projection.query(w, normed(h, w, f"{spec.name}.q", scale, shift, side.index(side.cross_step), spec.eps), side.cross)


def key_value_of(spec: CrossSpec, w: BlockWeights, side: Side, mods: Modulations, h: Tensor) -> KeyValue:
    scale, shift = spec.pair(mods.rows)
    ext = normed(h, w, f"{spec.name}.kv", scale, shift, side.index(side.cross_step), spec.eps)
    return spec.projection.key_value(w, ext, spec.projection.raw(w, "kv", ext), side.cross)


def cross_forward(spec: CrossSpec, w: BlockWeights, side: Side, mods: Modulations, batch: int, h: Tensor, query: Query, kv: KeyValue, keep: bool) -> tuple[Tensor, Attention | None]:
    """The side's state after the attention."""
    y, kept = attend_out(w, spec.name, query, kv, Heads(batch, spec.heads), keep)
    return ops.gated_add(h, y, mods.gate[:, 0], side.index(side.gate)), kept


def cross_backward(spec: CrossSpec, w: BlockWeights, side: Side, mods: Modulations, kept: Attention, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(towards the query's input x, towards k, towards v) given the gradient towards the side's state."""
    dq, dk, dv = attend_out_backward(w, spec.name, kept, g, mods.gate[:, 0], side.index(side.gate))
    return spec.projection.query_backward(w, kept.query, side.cross, dq), dk, dv


def key_value_backward(spec: CrossSpec, w: BlockWeights, side: Side, mods: Modulations, kept: Attention, h: Tensor, dk: Tensor, dv: Tensor, into: Tensor) -> None:
    """Adds the gradient towards ``h``, which keys and values were made of, to ``into``."""
    dx = spec.projection.key_value_backward(w, kept.kv, side.cross, dk, dv)
    through_norm(spec, side, mods, h, dx, into)


def through_norm(spec: CrossSpec, side: Side, mods: Modulations, h: Tensor, dx: Tensor, into: Tensor) -> None:
    ops.norm_modulate_backward(h, spec.pair(mods.rows)[0], side.index(side.cross_step), spec.eps, dx, into)
