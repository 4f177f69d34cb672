"""A transformer whose blocks stay in the file until each is wanted: host memory never holds the model in full precision."""

from __future__ import annotations

import torch
from safetensors import safe_open
from torch import nn

from ..checkpoint.combined import Checkpoint
from ..checkpoint.dequantize import quantised_layers, read_weight
from ..checkpoint.reader import assign, fill_module
from ..models.build import skeleton

_BLOCKS = "transformer_blocks."


class BlockFile:
    """``model``: the transformer of ``checkpoint`` in ``dtype``, frozen. Its blocks have shapes and no memory until they are
    brought, which works through any adapter that was put around their layers meanwhile.

    Raises:
        CheckpointError: a key missing, unexpected or of the wrong shape, in the blocks too.
    """

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype):
        self._path, self._dtype = checkpoint.path, dtype
        self.model, keymap = skeleton(checkpoint, "transformer"), checkpoint.family.components["transformer"]
        fill_module(self.model, checkpoint.header, keymap, "transformer", torch.device("cpu"), dtype, left=lambda name: name.startswith(_BLOCKS))
        self._keys: list[dict[str, nn.Parameter]] = []
        with torch.inference_mode(False):
            for index, block in enumerate(self.model.transformer_blocks):
                for name, parameter in list(block.named_parameters()):
                    # One number seen as many: a place of the right shape for adapters to look at.
                    assign(block, name, torch.zeros((), dtype=dtype).expand(parameter.shape))
                self._keys.append({keymap.to_file(f"{_BLOCKS}{index}.{name}"): p for name, p in block.named_parameters()})
        self._layers = quantised_layers(checkpoint.header, [key for keys in self._keys for key in keys])

    def bring(self, index: int, block: nn.Module, device: torch.device) -> None:
        """Block ``index``'s weights from the file onto ``device``, one tensor at a time."""
        with torch.inference_mode(False), torch.no_grad(), safe_open(self._path, framework="pt", device=str(device)) as file:
            for key, parameter in self._keys[index].items():
                parameter.data = read_weight(file, key, self._layers.get(key), self._dtype)
