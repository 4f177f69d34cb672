"""Adapters beside a transformer while a ``with`` block runs; its weights are never written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..checkpoint.adapter import Adapter
from ..errors import LTX2Error


def _layer(transformer: nn.Module, name: str, adapter: Adapter) -> nn.Module:
    try:
        return transformer.get_submodule(name)
    except AttributeError as error:
        raise LTX2Error(f"The adapter {adapter.name} changes {name}, which this checkpoint does not have; choose an adapter for this model.") from error


def _check(name: str, adapter: Adapter, layer: nn.Module, down: Tensor, up: Tensor) -> None:
    features = (layer.in_features, layer.out_features)
    if (down.shape[1], up.shape[0]) != features:
        raise LTX2Error(
            f"The adapter {adapter.name} has {down.shape[1]} to {up.shape[0]} features at {name}, this checkpoint {features[0]} to {features[1]}; "
            "choose an adapter for this model."
        )


class _Beside:
    """A forward hook: output + sum over adapters of strength · up(down(x)). One product of concatenated ranks."""

    def __init__(self, parts: Sequence[tuple[Tensor, Tensor, float]], device: torch.device, dtype: torch.dtype):
        self.down = torch.cat([d for d, _, _ in parts]).to(device, dtype)
        self.up = torch.cat([u.float() * s for _, u, s in parts], dim=1).to(device, dtype)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = inputs[0].to(self.down.dtype)
        return output + nn.functional.linear(nn.functional.linear(x, self.down), self.up).to(output.dtype)


@contextmanager
def applied(
    transformer: nn.Module, adapters: Sequence[tuple[Adapter, float]], *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Iterator[nn.Module]:
    """``transformer`` with ``adapters`` (adapter, strength) acting until the block ends.

    Works on plain, quantised and streamed bases and beside a LoRA in training, since only outputs are added to.

    Args:
        device, dtype: of the adapters' matrices; those of ``proj_in`` by default.

    Raises:
        LTX2Error: a layer that the model does not have, or of another size.
    """
    weight = transformer.proj_in.weight
    dtype = dtype or (weight.dtype if weight.is_floating_point() else torch.bfloat16)
    grouped: dict[str, list[tuple[Tensor, Tensor, float]]] = {}
    for adapter, strength in adapters:
        for name, (down, up) in adapter.layers.items():
            _check(name, adapter, _layer(transformer, name, adapter), down, up)
            if strength != 0:
                grouped.setdefault(name, []).append((down, up, strength))
    handles = [transformer.get_submodule(n).register_forward_hook(_Beside(parts, device or weight.device, dtype)) for n, parts in grouped.items()]
    try:
        yield transformer
    finally:
        for handle in handles:
            handle.remove()
