"""A LoRA put into the transformer by peft, read out as an Adapter, and taken out again without a trace."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..checkpoint.adapter import Adapter
from ..errors import LTX2Error
from .randomness import generator
from .settings import LoRASettings
from .targets import check_present

NAME = "ltx2_train"


@dataclass(frozen=True)
class InjectedLoRA:
    """The adapter inside ``model``. ``parameters``: "<module>.lora_A.weight" / ".lora_B.weight" -> trainable parameter."""

    model: nn.Module
    settings: LoRASettings
    modules: tuple[str, ...]
    parameters: dict[str, nn.Parameter]

    def load(self, adapter: Adapter) -> None:
        """Continue from ``adapter``: its layers replace the fresh ones; its rank must be the settings'.

        Raises:
            LTX2Error: another rank, or a layer that is not among the targets.
        """
        strange = [m for m in adapter.layers if m not in self.modules]
        if strange:
            raise LTX2Error(f"The adapter {adapter.name} changes {strange[0]}, which is not among this run's targets; choose targets that include it.")
        with torch.no_grad():
            for module, (down, up) in adapter.layers.items():
                ours = (self.parameters[f"{module}.lora_A.weight"], self.parameters[f"{module}.lora_B.weight"])
                if ours[0].shape != down.shape or ours[1].shape != up.shape:
                    raise LTX2Error(f"The adapter {adapter.name} has rank {down.shape[0]} and this run rank {self.settings.rank}; set rank to {down.shape[0]}.")
                ours[0].copy_(down)
                ours[1].copy_(up.float() / self.settings.scaling)

    def extract(self, name: str, family: str | None) -> Adapter:
        """A copy of the adapter on the CPU, float32, alpha/rank multiplied into ``up``."""
        return adapter_from_state(self.parameters, self.settings, name, family)


def adapter_from_state(parameters: Mapping[str, Tensor], settings: LoRASettings, name: str, family: str | None) -> Adapter:
    """The adapter that ``parameters`` ("<module>.lora_A.weight" …) make, scale folded into ``up``; float32 copies on the CPU."""
    layers = {}
    for key in parameters:
        module, found, _ = key.partition(".lora_A.weight")
        if not found:
            continue
        down, up = (parameters[f"{module}.{part}.weight"].detach().to("cpu", torch.float32, copy=True) for part in ("lora_A", "lora_B"))
        layers[module] = (down, up * settings.scaling)
    return Adapter(name, layers, family, {"lora_rank": str(settings.rank)})


def _first_matrix(settings: LoRASettings, shape: torch.Size, seed: int, module: str) -> Tensor:
    """Fresh lora_A [rank, in], float32: uniform in +-1/sqrt(in) (He et al. with a = sqrt 5, peft's own), or normal with std 1/rank."""
    values = generator(seed, "lora", module)
    if settings.init == "gaussian":
        return torch.randn(shape, generator=values) / settings.rank
    return (torch.rand(shape, generator=values) * 2 - 1) / math.sqrt(shape[1])


def inject(model: nn.Module, settings: LoRASettings, modules: tuple[str, ...], seed: int, dtype: torch.dtype) -> InjectedLoRA:
    """Add a fresh adapter to exactly ``modules``; the base is frozen. The start is the same on every device.

    Raises:
        LTX2Error: the model lacks one of ``modules``, or still carries adapters.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if hasattr(model, "peft_config"):
        raise LTX2Error("The transformer still carries an adapter of another run; load the checkpoint again.")
    check_present(model, modules)
    exact = "|".join(re.escape(m) for m in modules)
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, use_rslora=settings.rslora,
        target_modules=f"(?:{exact})", init_lora_weights=False,
    )  # fmt: skip
    inject_adapter_in_model(config, model, adapter_name=NAME, low_cpu_mem_usage=True)
    parameters: dict[str, nn.Parameter] = {}
    for module in modules:
        layer = model.get_submodule(module)
        device = layer.get_base_layer().weight.device
        for part, matrices in (("lora_A", layer.lora_A), ("lora_B", layer.lora_B)):
            shape = matrices[NAME].weight.shape
            start = _first_matrix(settings, shape, seed, module) if part == "lora_A" else torch.zeros(shape)
            matrices[NAME].weight = nn.Parameter(start.to(device, dtype))
            parameters[f"{module}.{part}.weight"] = matrices[NAME].weight
    trainable = {id(p) for p in parameters.values()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trainable)
    return InjectedLoRA(model, settings, modules, parameters)


def remove(lora: InjectedLoRA) -> None:
    """Put every base layer back where it was; nothing of the adapter or of peft stays in the model."""
    for module in lora.modules:
        parent, _, leaf = module.rpartition(".")
        owner = lora.model.get_submodule(parent)
        layer = owner._modules[leaf]
        owner._modules[leaf] = layer.get_base_layer()
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
