"""An adapter on the host's own model."""

from __future__ import annotations

import comfy.lora
import torch

from ...ltx2core.checkpoint.adapter import Adapter, adapter_tensors
from ...ltx2core.checkpoint.adapter_names import PREFIX
from ...ltx2core.checkpoint.modules import to_original
from ...ltx2core.errors import LTX2Error


def with_adapter(model, adapter: Adapter, strength: float):
    """A copy of ``model`` (the host's ModelPatcher) that has ``adapter`` beside its own weights; the host puts it on and off.

    Raises:
        LTX2Error: the model lacks one of its layers, or has it in another size.
    """
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    weights = model.model.state_dict()
    for module, layer in adapter.layers.items():
        weight = weights.get(keys.get(f"{PREFIX}{to_original(module)}"))
        if weight is None or tuple(weight.shape) != layer.shape:
            found = "does not have" if weight is None else f"has as {tuple(weight.shape)} and not {layer.shape}"
            raise LTX2Error(f"The adapter {adapter.name} changes {module}, which this model {found}; wire the MODEL of LTX-2 19B.")
    patched = model.clone()
    patched.add_patches(comfy.lora.load_lora(adapter_tensors(adapter, torch.float32), keys), strength)
    return patched
