"""Dropout whose mask is a function of an element's place and of a key, so that nothing random is state.

A block that is computed again drops the same values by itself, and a captured step drops others with every key. A key is
written in place, once a pass: what has its address, such as a graph, sees the new one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .randomness import derive, generator

# Of a key; two are read. Four of int32 are 16 bytes, and compiled code wants its inputs, of which each key is one, to begin at such a multiple.
_WORDS = 4


def _int32(word: int) -> int:
    """The low 32 bits of ``word`` as int32 has them."""
    return (word + 2**31) % 2**32 - 2**31


def mixed(words: Tensor) -> Tensor:
    """int32 of any shape, changed in place: every bit of the result depends on every bit of a word.

    The finaliser of MurmurHash3 for 32 bits (fmix32; Austin Appleby, public domain). torch has no arithmetic of uint32
    everywhere: products of int32 keep the same low 32 bits, and a shift of int32 draws the sign in, which is cut off.
    """
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        high = words >> shift
        high &= (1 << (32 - shift)) - 1
        words ^= high
        if factor != 1:
            words *= _int32(factor)
    return words


def least(p: float) -> int:
    """The smallest int32 that keeps a value, where a share ``p`` of all are below it."""
    return round(p * 2**32) - 2**31


def kept(key: Tensor, shape: Sequence[int], p: float) -> Tensor:
    """Bool of ``shape`` [..., C] on the device of ``key`` [4] int32: False with probability ``p``.

    The numbers of SplitMix (Steele, Lea and Flood 2014) in 32 bits: an element's index times an odd step, plus a start, mixed.
    Step and start are the key's first words. Few operations, since a block that is compiled has them for each layer; none of an
    element alone, which compiled code would make once for all layers and keep.
    """
    rows, columns = (torch.arange(n, dtype=torch.int32, device=key.device) for n in (math.prod(shape[:-1]), shape[-1]))
    step = key[0] | 1
    word = (rows * (step * shape[-1]))[:, None] + (columns * step + key[1])
    return (mixed(word) >= least(p)).view(shape)


def dropped(x: Tensor, key: Tensor, p: float) -> Tensor:
    """x [..., C] of any float dtype with a share ``p`` 0 and the rest x / (1 - p)."""
    return torch.where(kept(key, x.shape, p), x * (1 / (1 - p)), 0)


class KeyedDropout(nn.Module):
    """torch's ``nn.Dropout`` but for where its mask comes from. key: [4] int32, any values; no part of the state dict."""

    def __init__(self, p: float, device: torch.device):
        super().__init__()
        self.p = p
        self.register_buffer("key", torch.zeros(_WORDS, dtype=torch.int32, device=device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] of any float dtype; in training a share p is 0 and the rest x / (1 - p)."""
        if not self.training:
            return x
        if torch.compiler.is_compiling():
            # Else each layer would keep its own copy of x for backward, where x and a key are enough.
            return checkpoint(dropped, x, self.key, self.p, use_reentrant=False, preserve_rng_state=False)
        return dropped(x, self.key, self.p)


def keys_of(module: nn.Module) -> dict[str, Tensor]:
    """The keys in ``module`` by name."""
    return {f"{name}.key": layer.key for name, layer in module.named_modules() if isinstance(layer, KeyedDropout)}


class DropoutKeys:
    """Writes the keys of ``layers``, by name: each of the run's seed, of its layer's name, and of what a pass is."""

    def __init__(self, layers: Mapping[str, KeyedDropout], seed: int):
        self._layers, self._seed = list(layers.values()), seed
        draw = (generator(seed, "dropout", name) for name in layers)
        self._names = torch.stack([torch.randint(-(2**31), 2**31, (_WORDS,), generator=values, dtype=torch.int32) for values in draw])

    @torch.no_grad()
    def draw(self, *purpose: int) -> None:
        """For the pass that ``purpose`` names; on the keys' device, without waiting for it."""
        keys, word = [layer.key for layer in self._layers], derive(self._seed, "dropout", *purpose)
        self._names = self._names.to(keys[0].device)
        fresh = mixed(mixed(self._names ^ _int32(word)) ^ _int32(word >> 32))
        torch._foreach_copy_(keys, list(fresh.unbind()))
