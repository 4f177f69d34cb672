"""Fills a module that stands on the meta device from a safetensors file, one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from safetensors import safe_open
from torch import Tensor, nn

from .dequantize import companion_keys, logical_shape, quantised_layers, read_weight
from .header import CheckpointError, Header
from .keymap import KeyMap


def _list(names: list[str], limit: int = 5) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def match_keys(headers: Sequence[Header], keymap: KeyMap, component: str, expected: Mapping[str, Tensor]) -> dict[str, str]:
    """Module name -> file key, checked both ways; scales of quantised layers are accounted for.

    Args:
        expected: the module's state dict (shapes only are read).

    Raises:
        CheckpointError: a missing or unexpected key; names file, component and key.
    """
    found = {}
    for header in headers:
        scales = companion_keys(header)
        for key in header.tensors:
            if keymap.owns(key) and key not in scales and (name := keymap.to_module(key)) is not None:
                found[name] = key
    where = f"{headers[0].path.name}, component {component}"
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


def fill_module(
    module: nn.Module, files: Header | Sequence[Header], keymap: KeyMap, component: str, device: torch.device, dtype: torch.dtype,
    left: Callable[[str], bool] | None = None,
) -> nn.Module:  # fmt: skip
    """Read ``component`` into ``module`` (on meta) tensor by tensor: at no time are there two copies.

    ``files``: one header, or those of all shards. Floating and quantised weights become ``dtype``; parameters are
    frozen. Runs outside inference mode, so that the weights can be used under autograd whatever the caller's mode.
    What ``left`` says of its name is checked as all else and not read.
    """
    headers = (files,) if isinstance(files, Header) else tuple(files)
    with torch.inference_mode(False), torch.no_grad():
        expected = module.state_dict()
        found = match_keys(headers, keymap, component, expected)
        for header in headers:
            _fill_from(module, header, {n: k for n, k in found.items() if k in header.tensors}, component, expected, device, dtype, left)
    return module.eval()


def _fill_from(module, header: Header, names: Mapping[str, str], component: str, expected, device: torch.device, dtype: torch.dtype,
               left: Callable[[str], bool] | None) -> None:  # fmt: skip
    layers = quantised_layers(header, names.values())
    for name, key in names.items():
        check_shape(header, component, key, logical_shape(header, key, layers.get(key)), expected[name].shape)
    with safe_open(header.path, framework="pt", device=str(device)) as file:
        for name, key in names.items():
            if left is not None and left(name):
                continue
            # Its own memory, not a view of the mapped file, so that the file may change or go.
            assign(module, name, read_weight(file, key, layers.get(key), dtype))
