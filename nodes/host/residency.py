"""ComfyUI's memory manager as the residency of our modules: it may evict them, and they may evict its own models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management as management
import torch
from comfy.model_patcher import ModelPatcher

from ...ltx2core.protocols import Room

# The manager holds only weak references, so a module carries its patcher and both live equally long. They refer to each
# other; the host collects such cycles after each prompt.
_ATTRIBUTE = "_ltx2_patcher"


class _Box(torch.nn.Module):
    """The patcher writes attributes such as ``device`` onto its model, which diffusers' classes do not allow."""

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module


class HostResidency:
    def __init__(self) -> None:
        # Modules of the open blocks, outermost first, each with the bytes it works in.
        self._held: list[tuple[torch.nn.Module, int]] = []

    @property
    def device(self) -> torch.device:
        return management.get_torch_device()

    def _patcher(self, module: torch.nn.Module) -> ModelPatcher:
        if _ATTRIBUTE not in module.__dict__:
            module.__dict__[_ATTRIBUTE] = ModelPatcher(_Box(module), load_device=self.device, offload_device=torch.device("cpu"))
        return module.__dict__[_ATTRIBUTE]

    @contextmanager
    def use(self, module: torch.nn.Module, working_bytes: int = 0) -> Iterator[torch.nn.Module]:
        """On the device inside the block, beside the modules of all enclosing blocks."""
        entry = (module, working_bytes)
        self._held.append(entry)
        try:
            self._load_held()
            yield module
        finally:
            self._held.remove(entry)

    def _load_held(self) -> None:
        """Enclosing blocks' modules are asked for again, since the manager may have moved them out to make room."""
        modules = list(dict.fromkeys(m for m, _ in self._held))
        working = sum(b for _, b in self._held)
        # Weights moved under inference mode become inference tensors, which training cannot use.
        with torch.inference_mode(False):
            management.load_models_gpu([self._patcher(m) for m in modules], memory_required=working, force_full_load=True)
            # With --novram the manager loads nothing whole, and plain modules cannot be streamed by it.
            for module in modules:
                module.to(self.device)

    def free_all(self) -> None:
        """Nothing of ours or of the host's stays on the device."""
        with torch.inference_mode(False):
            management.unload_all_models()
            management.soft_empty_cache()

    def room(self) -> Room:
        """What the manager counts as free, less what a person reserved for other programs; most: its models that no open block holds moved out."""
        device = self.device
        free = int(management.get_free_memory(device) - management.extra_reserved_memory())
        if device.type == "cpu":  # a model that leaves a processor goes nowhere
            return Room(free, free)
        held = [self._patcher(module) for module, _ in self._held]
        idle = [m for m in management.current_loaded_models if m.device == device and not any(m.model is patcher for patcher in held)]
        return Room(free, free + sum(int(m.model_loaded_memory()) for m in idle))

    def release(self, module: torch.nn.Module) -> None:
        patcher = module.__dict__.pop(_ATTRIBUTE, None)
        if patcher is None:
            return
        with torch.inference_mode(False):
            patcher.detach()
            management.current_loaded_models[:] = [m for m in management.current_loaded_models if m.model is not patcher]
            module.to("cpu")
            management.soft_empty_cache()
