"""Adapters beside a transformer while a ``with`` block runs; its weights are never written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..checkpoint.adapter import Adapter
from ..checkpoint.adapter_layers import DoRALayer, Layer, LoRALayer, moved
from ..checkpoint.adapter_tools import check_strength
from ..errors import LTX2Error


def _layer(transformer: nn.Module, name: str, adapter: Adapter) -> nn.Module:
    try:
        return transformer.get_submodule(name)
    except AttributeError as error:
        raise LTX2Error(f"The adapter {adapter.name} changes {name}, which this checkpoint does not have; choose an adapter for this model.") from error


def _check(name: str, adapter: Adapter, layer: nn.Module, part: Layer) -> None:
    features = (layer.out_features, layer.in_features)
    if part.shape != features:
        raise LTX2Error(
            f"The adapter {adapter.name} has {part.shape[1]} to {part.shape[0]} features at {name}, this checkpoint {features[1]} to {features[0]}; "
            "choose an adapter for this model."
        )


def _joined(parts: Sequence[tuple[Layer, float]]) -> list[tuple[Layer, float]]:
    """All LoRAs of a layer as one of concatenated ranks, strengths in ``up``; the others as they are."""
    loras = [(p, s) for p, s in parts if isinstance(p, LoRALayer)]
    rest = [(p, s) for p, s in parts if not isinstance(p, LoRALayer)]
    if not loras:
        return rest
    down = torch.cat([p.down.float() for p, _ in loras])
    return [(LoRALayer(down, torch.cat([p.up.float() * s for p, s in loras], dim=1)), 1.0), *rest]


def adapter_bytes(adapters: Sequence[tuple[Adapter, float]], dtype: torch.dtype) -> int:
    """Of the matrices that :func:`applied` puts on the device."""
    return sum(t.numel() for a, s in adapters if s != 0 for layer in a.layers.values() for t in layer.tensors().values()) * dtype.itemsize


class _Dora:
    """The part of a DoRA that depends on the base weight, formed where that weight is: at the first forward pass.

    A streamed or quantised block lends its layers their weights for the time of its own forward pass only.
    """

    def __init__(self, part: DoRALayer, device: torch.device):
        self._part, self._device, self._gain = part, device, None

    def __call__(self, layer: nn.Module, bare: Tensor, change: Tensor) -> Tensor:
        """The change of the output: each row of the changed weight is multiplied by a gain."""
        if self._gain is None:
            self._gain = moved(self._part, self._device, torch.float32).gain(layer.weight)
        return (self._gain - 1) * bare + self._gain * change


class _Beside:
    """A forward hook that adds each adapter's change of the output; the base weight is only read for a DoRA's norms."""

    def __init__(self, layer: nn.Module, parts: Sequence[tuple[Layer, float]], device: torch.device, dtype: torch.dtype):
        self._dtype = dtype
        self._parts = [(moved(p, device, dtype), s, _Dora(p, device) if isinstance(p, DoRALayer) else None) for p, s in _joined(parts)]

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x, result = inputs[0].to(self._dtype), output
        for part, strength, dora in self._parts:
            change = part.act(x)
            if dora is not None:
                change = dora(module, output if module.bias is None else output - module.bias, change).to(self._dtype)
            result = result + (change if strength == 1 else change * strength).to(output.dtype)
        return result


    @property
    def lora(self) -> LoRALayer | None:
        """All of it as one LoRA, strengths inside; None when a part is of another kind."""
        ((part, strength, dora), *others) = self._parts
        return part if isinstance(part, LoRALayer) and strength == 1 and dora is None and not others else None


def lora_beside(layer: nn.Module) -> LoRALayer | None:
    """The one LoRA that :func:`applied` put beside ``layer``; None for anything else that hooks in."""
    hooks = [*layer._forward_hooks.values(), *layer._forward_pre_hooks.values()]
    return hooks[0].lora if len(hooks) == 1 and isinstance(hooks[0], _Beside) else None


@contextmanager
def applied(
    transformer: nn.Module, adapters: Sequence[tuple[Adapter, float]], *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Iterator[nn.Module]:
    """``transformer`` with ``adapters`` (adapter, strength) acting until the block ends.

    Works on plain, quantised and streamed bases and beside a LoRA in training, since only outputs are added to;
    a DoRA reads the base weights at its first pass. Each adapter's change is that which it makes to the base alone.

    Args:
        device, dtype: of the adapters' matrices; those of ``audio_proj_in`` by default.

    Raises:
        LTX2Error: a layer that the model does not have, or of another size; a strength that is no number.
    """
    weight = transformer.audio_proj_in.weight  # the part that sound alone goes through has it too
    dtype = dtype or (weight.dtype if weight.is_floating_point() else torch.bfloat16)
    grouped: dict[str, list[tuple[Layer, float]]] = {}
    for adapter, strength in adapters:
        check_strength(adapter.name, strength)
        for name, part in adapter.layers.items():
            _check(name, adapter, _layer(transformer, name, adapter), part)
            if strength != 0:
                grouped.setdefault(name, []).append((part, strength))
    hooks = {transformer.get_submodule(n): parts for n, parts in grouped.items()}
    handles = [layer.register_forward_hook(_Beside(layer, parts, device or weight.device, dtype)) for layer, parts in hooks.items()]
    try:
        yield transformer
    finally:
        for handle in handles:
            handle.remove()
