"""An adapter put into the transformer by peft or lycoris, read out as an Adapter, and taken out again without a trace."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ..checkpoint.adapter import FOLDED_ALPHA, Adapter
from ..checkpoint.adapter_layers import DORA_NAMES, NAMES, DoRALayer, Layer, from_tensors, magnitude_to_scale, moved
from ..errors import LTX2Error
from .dropout import DropoutKeys, KeyedDropout
from .lycoris_layers import inject_lycoris, lycoris_scaling
from .randomness import generator
from .settings import LoRASettings
from .targets import check_present

NAME = "ltx2_train"


@dataclass(frozen=True)
class InjectedLoRA:
    """The adapter inside ``model``. ``parameters``: "<module>.lora_A.weight", ".lora_B.weight", ".magnitude" [out] (DoRA),
    ".lokr_…" or ".hada_…" -> trainable parameter. keys: of its dropout, None where it has none.
    """

    model: nn.Module
    settings: LoRASettings
    modules: tuple[str, ...]
    parameters: dict[str, nn.Parameter]
    keys: DropoutKeys | None = None

    def draw_masks(self, *purpose: int) -> None:
        """What dropout leaves out is from here on that of the pass that ``purpose`` names."""
        if self.keys is not None:
            self.keys.draw(*purpose)

    def load(self, adapter: Adapter) -> None:
        """Continue from ``adapter``: its layers replace the fresh ones; its rank must be the settings'.

        Raises:
            LTX2Error: another rank, or a layer that is not among the targets.
        """
        strange = [m for m in adapter.layers if m not in self.modules]
        if strange:
            raise LTX2Error(f"The adapter {adapter.name} changes {strange[0]}, which is not among this run's targets; choose targets that include it.")
        with torch.no_grad():
            for module, layer in adapter.layers.items():
                start, ours = _start(self.model, module, layer, self.settings), _of_module(self.parameters, module)
                if {n: t.shape for n, t in start.items()} != {n: p.shape for n, p in ours.items()}:
                    raise LTX2Error(
                        f"The adapter {adapter.name} has rank {layer.rank} and tensors {', '.join(sorted(start))}, this run rank {self.settings.rank} and "
                        f"{', '.join(sorted(ours))}; set rank to {layer.rank} and kind to the adapter's."
                    )
                for name, parameter in ours.items():
                    parameter.copy_(start[name])

    @cached_property
    def neutral(self) -> dict[str, Tensor]:
        """Values of some parameters that make the adapter change nothing, whatever the others are."""
        scaled = "." + _SCALED[self.settings.kind]
        values = {n: torch.zeros_like(p) for n, p in self.parameters.items() if n.endswith(scaled)}
        magnitudes = (n for n in self.parameters if n.endswith("." + _MAGNITUDE))
        return values | {n: _base_weight(self.model, n.removesuffix("." + _MAGNITUDE)).norm(dim=1) for n in magnitudes}

    def extract(self, name: str, family: str | None) -> Adapter:
        """A copy of the adapter on the CPU, float32, alpha/rank multiplied into one factor."""
        return adapter_from_state(self.parameters, self.settings, name, family, self.model)


_MAGNITUDE = "magnitude"
# The factor that takes the scale.
_SCALED = {"lora": "lora_B.weight", "dora": "lora_B.weight", "lokr": "lokr_w1", "loha": "hada_w1_b"}


def _of_module(parameters: Mapping[str, Tensor], module: str) -> dict[str, Tensor]:
    names = (*sorted(NAMES), _MAGNITUDE)
    return {n: parameters[f"{module}.{n}"] for n in names if f"{module}.{n}" in parameters}


def _scaling(settings: LoRASettings, names: Iterable[str]) -> float:
    return settings.scaling if settings.kind in ("lora", "dora") else lycoris_scaling(settings, set(names))


def _base_weight(model: nn.Module, module: str) -> Tensor:
    """[out, in] float32 of the layer below any adapter."""
    layer = model.get_submodule(module)
    weight = (layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer).weight
    if not weight.numel():
        raise LTX2Error("A DoRA needs the base weights themselves; train it with bf16 weights that are not streamed.")
    return weight.detach().float()


def _start(model: nn.Module, module: str, layer: Layer, settings: LoRASettings) -> dict[str, Tensor]:
    """The parameters that make ``layer``, float32: scale taken out, a DoRA's magnitude from the base weight."""
    tensors = {n: t.float() for n, t in layer.tensors().items()}
    if isinstance(layer, DoRALayer):
        weight = _base_weight(model, module)
        tensors = {n: t for n, t in tensors.items() if n not in DORA_NAMES} | {_MAGNITUDE: moved(layer, weight.device, torch.float32).magnitude(weight)}
    scaled = _SCALED[settings.kind]
    if scaled in tensors:
        tensors[scaled] = tensors[scaled] / _scaling(settings, tensors)
    return tensors


def _layer(model: nn.Module, module: str, tensors: dict[str, Tensor], settings: LoRASettings) -> Layer:
    tensors = {n: t.detach().to("cpu", torch.float32, copy=True) for n, t in tensors.items()}
    magnitude = tensors.pop(_MAGNITUDE, None)
    layer = from_tensors(tensors, _scaling(settings, tensors))
    if magnitude is None:
        return layer
    weight = _base_weight(model, module)
    scale = magnitude_to_scale(magnitude.to(weight.device), weight, layer.delta().to(weight.device)).cpu()
    return DoRALayer(layer.down, layer.up, scale)


def adapter_from_state(parameters: Mapping[str, Tensor], settings: LoRASettings, name: str, family: str | None, model: nn.Module) -> Adapter:
    """The adapter that ``parameters`` ("<module>.lora_A.weight" …) make, scale folded in; float32 copies on the CPU.

    Args:
        model: the base, with or without the adapter inside; a DoRA reads its weights' norms.
    """
    endings = tuple(f".{n}" for n in (*NAMES, _MAGNITUDE))
    modules = dict.fromkeys(key.removesuffix(e) for key in parameters for e in endings if key.endswith(e))
    layers = {m: _layer(model, m, _of_module(parameters, m), settings) for m in modules}
    return Adapter(name, layers, family, {"lora_rank": str(settings.rank), FOLDED_ALPHA: f"{settings.alpha:g}", "adapter_kind": settings.kind})


def _first_matrix(settings: LoRASettings, shape: torch.Size, seed: int, module: str) -> Tensor:
    """Fresh lora_A [rank, in], float32: uniform in +-1/sqrt(in) (He et al. with a = sqrt 5, peft's own), or normal with std 1/rank."""
    values = generator(seed, "lora", module)
    if settings.init == "gaussian":
        return torch.randn(shape, generator=values) / settings.rank
    return (torch.rand(shape, generator=values) * 2 - 1) / math.sqrt(shape[1])


def _inject_peft(model: nn.Module, settings: LoRASettings, modules: tuple[str, ...], seed: int, dtype: torch.dtype) -> dict[str, nn.Parameter]:
    from peft import LoraConfig, inject_adapter_in_model

    exact = "|".join(re.escape(m) for m in modules)
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, use_rslora=settings.rslora,
        target_modules=f"(?:{exact})", init_lora_weights=False, use_dora=settings.kind == "dora",
    )  # fmt: skip
    inject_adapter_in_model(config, model, adapter_name=NAME, low_cpu_mem_usage=True)
    parameters: dict[str, nn.Parameter] = {}
    for module in modules:
        layer = model.get_submodule(module)
        base = layer.get_base_layer().weight
        for part, matrices in (("lora_A", layer.lora_A), ("lora_B", layer.lora_B)):
            shape = matrices[NAME].weight.shape
            start = _first_matrix(settings, shape, seed, module) if part == "lora_A" else torch.zeros(shape)
            matrices[NAME].weight = nn.Parameter(start.to(base.device, dtype))
            parameters[f"{module}.{part}.weight"] = matrices[NAME].weight
        if settings.kind == "dora":
            magnitude = layer.lora_magnitude_vector[NAME]
            magnitude.weight = nn.Parameter(base.detach().float().norm(dim=1).to(dtype))
            parameters[f"{module}.{_MAGNITUDE}"] = magnitude.weight
    return parameters


def _keyed(model: nn.Module, settings: LoRASettings, modules: tuple[str, ...], seed: int) -> DropoutKeys | None:
    """Our dropout in the place of peft's; None where nothing is dropped."""
    if not settings.dropout:
        return None
    layers = {}
    for module in modules:
        layer = model.get_submodule(module)
        layers[module] = layer.lora_dropout[NAME] = KeyedDropout(settings.dropout, layer.get_base_layer().weight.device)
    keys = DropoutKeys(layers, seed)
    keys.draw(0, 0)
    return keys


def inject(model: nn.Module, settings: LoRASettings, modules: tuple[str, ...], seed: int, dtype: torch.dtype) -> InjectedLoRA:
    """Add a fresh adapter to exactly ``modules``; the base is frozen. The start is the same on every device.

    Raises:
        LTX2Error: the model lacks one of ``modules``, or still carries adapters.
    """
    if hasattr(model, "peft_config"):
        raise LTX2Error("The transformer still carries an adapter of another run; load the checkpoint again.")
    check_present(model, modules)
    put = _inject_peft if settings.kind in ("lora", "dora") else inject_lycoris
    parameters = put(model, settings, modules, seed, dtype)
    trainable = {id(p) for p in parameters.values()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trainable)
    return InjectedLoRA(model, settings, modules, parameters, _keyed(model, settings, modules, seed))


def remove(lora: InjectedLoRA) -> None:
    """Put every base layer back where it was; nothing of the adapter or of peft stays in the model."""
    for module in lora.modules:
        parent, _, leaf = module.rpartition(".")
        owner = lora.model.get_submodule(parent)
        layer = owner._modules[leaf]
        owner._modules[leaf] = layer.get_base_layer()
    if hasattr(lora.model, "peft_config"):
        del lora.model.peft_config


@contextmanager
def injected(model: nn.Module, settings: LoRASettings, modules: tuple[str, ...], seed: int, dtype: torch.dtype) -> Iterator[InjectedLoRA]:
    """The model with an adapter inside the block, and as it was after it, also after an error."""
    required = {name: p.requires_grad for name, p in model.named_parameters()}
    training = model.training
    lora = inject(model, settings, modules, seed, dtype)
    try:
        model.train(settings.dropout > 0)
        yield lora
    finally:
        remove(lora)
        model.train(training)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(required[name])
