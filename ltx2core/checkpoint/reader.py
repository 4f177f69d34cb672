"""Fills a module that stands on the meta device from a safetensors file, one tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors import safe_open
from torch import Tensor, nn

from .header import CheckpointError, Header
from .keymap import KeyMap


def _list(names: list[str], limit: int = 5) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def match_keys(header: Header, keymap: KeyMap, component: str, expected: Mapping[str, Tensor], extra: frozenset[str] = frozenset()) -> dict[str, str]:
    """Module name -> file key, checked both ways.

    Args:
        expected: the module's state dict (shapes only are read).
        extra: file keys that are accounted for elsewhere (scales of quantised layers).

    Raises:
        CheckpointError: a missing or unexpected key, or a wrong shape; names file, component and key.
    """
    found = {}
    for key in header.tensors:
        if keymap.owns(key) and key not in extra and (name := keymap.to_module(key)) is not None:
            found[name] = key
    where = f"{header.path.name}, component {component}"
    if missing := sorted(keymap.to_file(n) for n in expected.keys() - found.keys()):
        raise CheckpointError(f"{where}: missing key {_list(missing)}; the file is incomplete or of another model.")
    if unexpected := sorted(found[n] for n in found.keys() - expected.keys()):
        raise CheckpointError(f"{where}: unexpected key {_list(unexpected)}; the file is of another model.")
    return found


def check_shape(header: Header, component: str, key: str, shape: tuple[int, ...], wanted: torch.Size) -> None:
    if tuple(shape) != tuple(wanted):
        raise CheckpointError(
            f"{header.path.name}, component {component}: key {key} has shape {tuple(shape)}, the model needs {tuple(wanted)}; the file is of another model."
        )


def assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put ``tensor`` in place of the parameter or buffer ``name``, frozen."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[leaf] = tensor


def fill_module(module: nn.Module, header: Header, keymap: KeyMap, component: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Read ``component`` into ``module`` (on meta) tensor by tensor: at no time are there two copies.

    Floating tensors become ``dtype``; parameters are frozen. Runs outside inference mode, so that the weights can be
    used under autograd whatever the caller's mode.
    """
    with torch.inference_mode(False), torch.no_grad():
        expected = module.state_dict()
        found = match_keys(header, keymap, component, expected)
        for name, key in found.items():
            check_shape(header, component, key, header.tensors[key].shape, expected[name].shape)
        with safe_open(header.path, framework="pt", device=str(device)) as file:
            for name, key in found.items():
                tensor = file.get_tensor(key)
                # A CPU tensor is a view of the mapped file: own it, so that the file may change or go.
                assign(module, name, tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != dtype else tensor.clone())
    return module.eval()
