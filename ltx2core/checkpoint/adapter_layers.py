"""What an adapter does to one linear layer: LoRA, DoRA, LoKr, LoHa. Scales (alpha/rank) are folded in.

Each record knows its change of the weight (``delta``), its action on an input without that matrix being kept (``act``),
and its tensors under the names that files use (``tensors``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear


MAGNITUDE_VECTOR = "lora_magnitude_vector"  # peft's name of a DoRA's magnitudes


class Layer(Protocol):
    """One layer's part of an adapter; [out, in] is the shape of the weight that it changes."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def rank(self) -> int: ...

    def delta(self) -> Tensor:
        """[out, in] float32: the change of the weight at strength 1; a DoRA's without its magnitude."""
        ...

    def act(self, x: Tensor) -> Tensor:
        """``x @ delta().T`` in x's dtype, [..., in] -> [..., out]."""
        ...

    def tensors(self) -> dict[str, Tensor]: ...


def moved(layer: Layer, device: torch.device, dtype: torch.dtype) -> Layer:
    return from_tensors({k: t.to(device, dtype) for k, t in layer.tensors().items()})


class LoRALayer(NamedTuple):
    """down [rank, in], up [out, rank]; the change is up @ down (Hu et al. 2021)."""

    down: Tensor
    up: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.up.shape[0], self.down.shape[1]

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def delta(self) -> Tensor:
        return self.up.float() @ self.down.float()

    def act(self, x: Tensor) -> Tensor:
        return linear(linear(x, self.down), self.up)

    def tensors(self) -> dict[str, Tensor]:
        return {"lora_A.weight": self.down, "lora_B.weight": self.up}


@dataclass(frozen=True)
class DoRALayer:
    """A LoRA and ``scale`` [out, 1]: the weight becomes (W + up @ down) * scale / |W|, norms taken by row.

    Liu et al. 2024 divide by the norm of W + up @ down. ComfyUI divides by the norm of W, so the magnitude m is stored
    as scale = m |W| / |W + up @ down|, and its loader gives the trained weight. See :func:`magnitude_to_scale`.
    """

    down: Tensor
    up: Tensor
    scale: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.up.shape[0], self.down.shape[1]

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def delta(self) -> Tensor:
        return self.up.float() @ self.down.float()

    def act(self, x: Tensor) -> Tensor:
        return linear(linear(x, self.down), self.up)

    def gain(self, weight: Tensor) -> Tensor:
        """[out] float32: what each row of W + up @ down is multiplied by; ``weight`` is W, on this layer's device."""
        return self.scale.float()[:, 0] / weight.float().norm(dim=1)

    def magnitude(self, weight: Tensor) -> Tensor:
        """[out] float32: the paper's m."""
        return scale_to_magnitude(self.scale, weight, self.delta())

    def tensors(self) -> dict[str, Tensor]:
        return {"lora_A.weight": self.down, "lora_B.weight": self.up, "dora_scale": self.scale}


@dataclass(frozen=True)
class MagnitudeDoRALayer(DoRALayer):
    """The same as peft and diffusers write it: ``scale`` [out, 1] holds m itself, so that W is needed to bring it to ComfyUI's form."""

    def gain(self, weight: Tensor) -> Tensor:
        return self.scale.float()[:, 0] / (weight.float() + self.delta()).norm(dim=1)

    def magnitude(self, weight: Tensor) -> Tensor:
        return self.scale.float()[:, 0]

    def tensors(self) -> dict[str, Tensor]:
        return {"lora_A.weight": self.down, "lora_B.weight": self.up, MAGNITUDE_VECTOR: self.scale[:, 0]}


@dataclass(frozen=True)
class LoKrLayer:
    """The Kronecker product of w1 [o1, i1] and w2 [o2, i2], w2 whole or as (a [o2, rank], b [rank, i2]) (Yeh et al. 2023)."""

    w1: Tensor
    w2: tuple[Tensor, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return self.w1.shape[0] * self.w2[0].shape[0], self.w1.shape[1] * self.w2[-1].shape[1]

    @property
    def rank(self) -> int:
        return self.w2[0].shape[1] if len(self.w2) == 2 else min(self.w2[0].shape)

    def delta(self) -> Tensor:
        w2 = self.w2[0].float() @ self.w2[1].float() if len(self.w2) == 2 else self.w2[0].float()
        return torch.kron(self.w1.float(), w2)

    def act(self, x: Tensor) -> Tensor:
        cells = x.unflatten(-1, (self.w1.shape[1], -1))
        for matrix in reversed(self.w2):
            cells = linear(cells, matrix)
        return linear(cells.transpose(-1, -2), self.w1).transpose(-1, -2).flatten(-2)

    def tensors(self) -> dict[str, Tensor]:
        second = {"lokr_w2": self.w2[0]} if len(self.w2) == 1 else {"lokr_w2_a": self.w2[0], "lokr_w2_b": self.w2[1]}
        return {"lokr_w1": self.w1, **second}


@dataclass(frozen=True)
class LoHaLayer:
    """The product, number by number, of w1_a @ w1_b and w2_a @ w2_b; a [out, rank], b [rank, in] (Hyeon-Woo et al. 2022)."""

    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.w1_a.shape[0], self.w1_b.shape[1]

    @property
    def rank(self) -> int:
        return self.w1_b.shape[0]

    def delta(self) -> Tensor:
        return (self.w1_a.float() @ self.w1_b.float()) * (self.w2_a.float() @ self.w2_b.float())

    def act(self, x: Tensor) -> Tensor:
        return linear(x, (self.w1_a @ self.w1_b) * (self.w2_a @ self.w2_b))

    def tensors(self) -> dict[str, Tensor]:
        return {f"hada_{k}": t for k, t in vars(self).items()}


def magnitude_to_scale(magnitude: Tensor, weight: Tensor, delta: Tensor) -> Tensor:
    """[out] of DoRA's paper -> ``scale`` [out, 1] of :class:`DoRALayer`. float32."""
    weight = weight.float()
    return (magnitude.float() * weight.norm(dim=1) / (weight + delta).norm(dim=1))[:, None]


def scale_to_magnitude(scale: Tensor, weight: Tensor, delta: Tensor) -> Tensor:
    """The other way: [out, 1] -> [out]."""
    weight = weight.float()
    return scale.float()[:, 0] * (weight + delta).norm(dim=1) / weight.norm(dim=1)


def _lora(t: Mapping[str, Tensor], scale: float) -> Layer:
    up = t["lora_B.weight"] if scale == 1 else (t["lora_B.weight"].float() * scale).to(t["lora_B.weight"].dtype)
    if MAGNITUDE_VECTOR in t:
        return MagnitudeDoRALayer(t["lora_A.weight"], up, t[MAGNITUDE_VECTOR].reshape(-1, 1))
    if "dora_scale" in t:
        return DoRALayer(t["lora_A.weight"], up, t["dora_scale"].reshape(-1, 1))
    return LoRALayer(t["lora_A.weight"], up)


def _lokr(t: Mapping[str, Tensor], scale: float) -> Layer:
    w1 = t["lokr_w1"] if "lokr_w1" in t else t["lokr_w1_a"] @ t["lokr_w1_b"]
    w2 = (t["lokr_w2"],) if "lokr_w2" in t else (t["lokr_w2_a"], t["lokr_w2_b"])
    return LoKrLayer(w1 if scale == 1 else (w1.float() * scale).to(w1.dtype), w2)


def _loha(t: Mapping[str, Tensor], scale: float) -> Layer:
    first = t["hada_w1_b"]
    return LoHaLayer(t["hada_w1_a"], first if scale == 1 else (first.float() * scale).to(first.dtype), t["hada_w2_a"], t["hada_w2_b"])


# Names that mark a kind -> its builder.
_KINDS: tuple[tuple[frozenset[str], Callable[[Mapping[str, Tensor], float], Layer]], ...] = (
    (frozenset({"lora_A.weight", "lora_B.weight"}), _lora),
    (frozenset({"lokr_w1", "lokr_w2"}), _lokr),
    (frozenset({"lokr_w1", "lokr_w2_a", "lokr_w2_b"}), _lokr),
    (frozenset({"lokr_w1_a", "lokr_w1_b", "lokr_w2"}), _lokr),
    (frozenset({"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"}), _lokr),
    (frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}), _loha),
)
DORA_NAMES = frozenset({"dora_scale", MAGNITUDE_VECTOR})  # one of them beside a LoRA's matrices
NAMES = frozenset().union(*(names for names, _ in _KINDS)) | DORA_NAMES


def is_whole(names: frozenset[str]) -> bool:
    """Whether tensors of these names make a layer."""
    sizes = names & DORA_NAMES
    return names - sizes in {n for n, _ in _KINDS} and (not sizes or len(sizes) == 1 and "lora_A.weight" in names)


def from_tensors(tensors: Mapping[str, Tensor], scale: float = 1.0) -> Layer:
    """The record of a layer's tensors, ``scale`` (alpha/rank) multiplied into one factor; ``is_whole`` must hold."""
    names = frozenset(tensors) - DORA_NAMES
    return next(build for needed, build in _KINDS if needed == names)(tensors, scale)


def alpha_rank(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """What a file's alpha is divided by; None for two whole LoKr matrices, where alpha means nothing."""
    for name, axis in (("lora_A.weight", 0), ("hada_w1_b", 0), ("lokr_w2_b", 0), ("lokr_w1_b", 0)):
        if name in shapes:
            return shapes[name][axis]
    return None


def kind_of(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, int]:
    """(LoRA, DoRA, LoKr or LoHa; rank) of a layer's tensors by their shapes; ``is_whole`` must hold."""
    if "lora_A.weight" in shapes:
        return "DoRA" if shapes.keys() & DORA_NAMES else "LoRA", shapes["lora_A.weight"][0]
    if "hada_w1_b" in shapes:
        return "LoHa", shapes["hada_w1_b"][0]
    return "LoKr", shapes["lokr_w2_b"][0] if "lokr_w2_b" in shapes else min(shapes["lokr_w2"])
