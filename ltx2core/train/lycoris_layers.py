"""LoKr and LoHa beside a linear layer: shapes and start are lycoris-lora's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..checkpoint.adapter_layers import from_tensors
from .randomness import derive
from .settings import LoRASettings

# Names of trainable tensors by kind, in lycoris' and all files' spelling.
_NAMES = {"lokr": ("lokr_w1", "lokr_w2", "lokr_w2_a", "lokr_w2_b"), "loha": ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")}


class LycorisLinear(nn.Module):
    """``base_layer`` plus the change that the factors of ``change`` (a lycoris module) make; the merged matrix is never kept.

    The factors act by this pack's own records, as in sampling: lycoris' action copies its scale to the device at every
    call, which a captured step can't do.
    """

    def __init__(self, base_layer: nn.Linear, change: nn.Module, names: tuple[str, ...], scaling: float):
        super().__init__()
        self.base_layer, self.change = base_layer, change
        self._names, self._scaling = names, scaling
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features

    @property
    def weight(self) -> Tensor:
        return self.base_layer.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base_layer.bias

    def get_base_layer(self) -> nn.Linear:
        return self.base_layer

    def forward(self, x: Tensor) -> Tensor:
        base = self.base_layer(x)
        # Not get_parameter: a block that is run on given weights has plain tensors in their places.
        factors = {name: getattr(self.change, name) for name in self._names}
        change = from_tensors(factors).act(x.to(factors[self._names[0]].dtype)) * self._scaling
        return base + change.to(base.dtype)


def _change(layer: nn.Linear, settings: LoRASettings, seed: int, module: str) -> nn.Module:
    """A fresh lycoris module; drawn on the CPU from a seed of its own, so that the start is the same on every device."""
    from lycoris.modules.loha import LohaModule
    from lycoris.modules.lokr import LokrModule

    options = {"lora_dim": settings.rank, "alpha": settings.alpha, "rs_lora": settings.rslora}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "lora", module))
        # On the meta device the base has a shape and no memory: nothing of it is held by the new module.
        shape = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        if settings.kind == "loha":
            return LohaModule(module.replace(".", "_"), shape, **options)
        return LokrModule(module.replace(".", "_"), shape, factor=settings.factor, **options)


def lycoris_scaling(settings: LoRASettings, names: set[str]) -> float:
    """What the product of the factors is multiplied by; two whole Kronecker factors have no rank and no scale."""
    return 1.0 if "lokr_w2" in names else settings.scaling


def inject_lycoris(model: nn.Module, settings: LoRASettings, modules: tuple[str, ...], seed: int, dtype: torch.dtype) -> dict[str, nn.Parameter]:
    """Wrap exactly ``modules``; returns "<module>.<tensor>" -> trainable parameter."""
    parameters: dict[str, nn.Parameter] = {}
    for module in modules:
        parent, _, leaf = module.rpartition(".")
        owner = model.get_submodule(parent)
        layer = owner.get_submodule(leaf)
        change = _change(layer, settings, seed, module).to(layer.weight.device, dtype)
        own = dict(change.named_parameters())
        names = tuple(name for name in _NAMES[settings.kind] if name in own)
        owner._modules[leaf] = LycorisLinear(layer, change, names, lycoris_scaling(settings, set(names)))
        parameters |= {f"{module}.{name}": own[name] for name in names}
    return parameters
