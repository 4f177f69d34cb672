"""Shapes of a component's weights under its module's names, from the file's header alone: no module is built."""

from __future__ import annotations

from .combined import Checkpoint
from .dequantize import companion_keys, logical_shape, quantised_layers
from .header import CheckpointError
from .keymap import DIT
from .modules import linear_modules, to_diffusers

Shapes = dict[str, tuple[int, ...]]  # parameter's name -> its shape


def component_shapes(checkpoint: Checkpoint, component: str) -> Shapes:
    """Every weight of ``component`` with the shape that its module has, however the file stores it.

    Raises:
        CheckpointError: the file has no such component, or stores it in a way that is not known.
    """
    tensors, keymap = checkpoint.tensors(component), checkpoint.family.components[component]
    layers, scales = quantised_layers(checkpoint.header, tensors), companion_keys(checkpoint.header)
    names = {key: keymap.to_module(key) for key in tensors if key not in scales}
    return {name: logical_shape(checkpoint.header, key, layers.get(key)) for key, name in names.items() if name is not None}


def block_count(shapes: Shapes) -> int:
    return len({name.split(".")[1] for name in shapes if name.startswith("transformer_blocks.")})


def transformer_shapes(checkpoint: Checkpoint) -> Shapes:
    """``component_shapes`` of the transformer.

    Raises:
        CheckpointError: a linear layer of the model that the header describes is missing.
    """
    shapes, layers = component_shapes(checkpoint, "transformer"), checkpoint.config["transformer"].get("num_layers", 48)
    missing = next((m for m in linear_modules(layers) if len(shapes.get(to_diffusers(m) + ".weight", ())) != 2), None)
    if missing:
        raise CheckpointError(f"{checkpoint.path.name}, component transformer: missing key {DIT}{missing}.weight; the file is incomplete or of another model.")
    return shapes
