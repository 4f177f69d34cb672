"""Linear layers that read the same input, as one matrix with their adapters inside.

For a group with weights W [O, I], adapters' first matrices A [R, I] and scaled second ones B [O, R] the packed matrix is

    [ W  B ]
    [ A  0 ]        [O + R, I + R]

so that with u = x A^T a layer and its adapter are one product, [x u] [W B]^T, and so is the gradient towards the input,
[dy v] [W; A] with v = dy B (Hu et al. 2021, written as products of blocks). No full-size temporary for the adapter exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..train.dropout import KeyedDropout

_EIGHT = 8  # a row of bf16 numbers begins at a multiple of 16 bytes, as matrix kernels want


def _attention(name: str, own: bool) -> dict[str, tuple[str, ...]]:
    q, k, v = (f"{name}.to_{x}" for x in "qkv")
    inputs = {f"{name}.qkv": (q, k, v)} if own else {f"{name}.q": (q,), f"{name}.kv": (k, v)}
    return inputs | {f"{name}.out": (f"{name}.to_out.0",)}


SELF_ATTENTIONS = ("attn1", "audio_attn1")
CROSS_ATTENTIONS = ("attn2", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn")
GROUPS: dict[str, tuple[str, ...]] = {
    **{g: m for name in SELF_ATTENTIONS for g, m in _attention(name, True).items()},
    **{g: m for name in CROSS_ATTENTIONS for g, m in _attention(name, False).items()},
    **{f"{name}.{part}": (f"{name}.{layer}",) for name in ("ff", "audio_ff") for part, layer in (("in", "net.0.proj"), ("out", "net.2"))},
}


@dataclass(frozen=True)
class Factors:
    """One layer's adapter: A [r, I], B [o, r], the factor before B, and what its input goes through."""

    down: nn.Parameter
    up: nn.Parameter
    scale: float
    dropout: KeyedDropout | None = None

    @property
    def drop(self) -> KeyedDropout | None:
        """The dropout while it drops: in training."""
        return self.dropout if self.dropout is not None and self.dropout.training else None


Adapters = Mapping[str, Factors]  # by layer's name in its block


@dataclass(frozen=True)
class GroupLayout:
    """Sizes of a packed matrix. ``ranks`` and ``outs`` are by member; ``width`` is their ranks' sum, rounded up."""

    members: tuple[str, ...]
    outs: tuple[int, ...]
    inner: int
    ranks: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.outs)

    @property
    def width(self) -> int:
        return -(-sum(self.ranks) // _EIGHT) * _EIGHT

    def places(self) -> list[tuple[str, slice, slice]]:
        """(member, its rows of W, its rows of A and columns of B)."""
        found, row, column = [], 0, 0
        for member, out, rank in zip(self.members, self.outs, self.ranks, strict=True):
            found.append((member, slice(row, row + out), slice(column, column + rank)))
            row, column = row + out, column + rank
        return found

    def empty(self, like: Tensor) -> Tensor:
        """A packed matrix without values."""
        return like.new_empty(self.rows + self.width, self.inner + self.width)


def base_layer(block: nn.Module, name: str) -> nn.Module:
    layer = block.get_submodule(name)
    return layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer


def adapters_of(block: nn.Module) -> dict[str, Factors] | None:
    """The LoRA of a block's linears; None when some adapter is of another kind (DoRA, LoKr, LoHa, or with torch's dropout)."""
    found: dict[str, Factors] = {}
    for name in (m for members in GROUPS.values() for m in members):
        layer = block.get_submodule(name)
        if type(layer) is nn.Linear:
            continue
        if not hasattr(layer, "lora_A") or len(layer.lora_A) != 1 or len(layer.lora_magnitude_vector):
            return None
        (adapter,) = layer.lora_A
        dropout = layer.lora_dropout[adapter]
        if not isinstance(dropout, nn.Identity | KeyedDropout):
            return None
        own = dropout if isinstance(dropout, KeyedDropout) else None
        found[name] = Factors(layer.lora_A[adapter].weight, layer.lora_B[adapter].weight, float(layer.scaling[adapter]), own)
    trained = {id(p) for p in block.parameters() if p.requires_grad}
    return found if trained <= {id(p) for f in found.values() for p in (f.down, f.up)} else None


def layouts_of(blocks: Sequence[nn.Module], adapters: Sequence[Adapters]) -> dict[str, GroupLayout]:
    """One layout for all blocks, so that any block's matrices fit the same buffers; a block without an adapter has zeros."""
    first, layouts = blocks[0], {}
    for group, members in GROUPS.items():
        weights = [base_layer(first, m).weight for m in members]
        ranks = tuple(max((a[m].down.shape[0] for a in adapters if m in a), default=0) for m in members)
        inner = next((a[members[0]].down.shape[1] for a in adapters if members[0] in a), 0) or weights[0].shape[1]
        layouts[group] = GroupLayout(members, tuple(w.shape[0] for w in weights), inner, ranks)
    return layouts
