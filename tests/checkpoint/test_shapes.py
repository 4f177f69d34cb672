"""Shapes and sizes from a header, against the module that diffusers builds from the header's configuration."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.checkpoint.header import CheckpointError
from ltx2core.checkpoint.keymap import DIT, TRANSFORMER
from ltx2core.checkpoint.shapes import component_shapes, transformer_shapes
from ltx2core.memory.plan import BaseSize
from ltx2core.memory.quantize import is_quantisable
from ltx2core.models.audio_branch import keep_sound, of_sound
from ltx2core.models.build import skeleton
from ltx2core.tiny import tiny_config, write_tiny_checkpoint


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return load_file(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny.safetensors"))


def in_8_bits(layer, shape):
    return {layer + ".weight": torch.zeros(shape, dtype=torch.float8_e4m3fn), layer + ".weight_scale": torch.ones(()), layer + ".input_scale": torch.ones(())}


def in_8_bits_marked(layer, shape):
    return {layer + ".weight": torch.zeros(shape, dtype=torch.float8_e5m2), layer + ".scale_weight": torch.ones(1), DIT + "scaled_fp8": torch.zeros(2, dtype=torch.float8_e5m2)}


def in_4_bits(layer, shape):
    """Two values a byte, a scale for 16 in tiles of 128 rows and 4 columns."""
    rows, columns = shape
    scales = (-(-rows // 128) * 128, -(-columns // 64) * 4)
    mark = torch.tensor(list(json.dumps({"format": "nvfp4"}).encode()), dtype=torch.uint8)
    return {
        layer + ".weight": torch.zeros(rows, columns // 2, dtype=torch.uint8), layer + ".weight_scale": torch.zeros(scales, dtype=torch.float8_e4m3fn),
        layer + ".weight_scale_2": torch.ones(()), layer + ".comfy_quant": mark,
    }  # fmt: skip


LAYOUTS = {"bf16": None, "float32": None, "transformer alone": None, "fp8": in_8_bits, "scaled_fp8": in_8_bits_marked, "fp4": in_4_bits}


@pytest.fixture(params=LAYOUTS)
def checkpoint(request, plain, tmp_path):
    state = {k: v for k, v in plain.items() if TRANSFORMER.owns(k)} if request.param == "transformer alone" else dict(plain)
    if request.param == "float32":
        state = {k: v.float() for k, v in state.items()}
    if form := LAYOUTS[request.param]:
        for key in [k for k in state if "transformer_blocks." in k and TRANSFORMER.owns(k) and is_quantisable(k, state[k].shape)]:
            state |= form(key.removesuffix(".weight"), state[key].shape)
    save_file(state, tmp_path / "tiny.safetensors", metadata={"config": json.dumps(tiny_config())})
    return open_checkpoint(tmp_path / "tiny.safetensors")


def test_shapes_and_sizes_are_those_of_the_module(checkpoint):
    shapes, model = transformer_shapes(checkpoint), skeleton(checkpoint, "transformer")
    assert shapes == {name: tuple(p.shape) for name, p in model.named_parameters()}
    blocks = [2 * sum(p.numel() for p in block.parameters()) for block in model.transformer_blocks]
    linears = [m for m in model.transformer_blocks[0].modules() if isinstance(m, torch.nn.Linear)]
    total = 2 * sum(p.numel() for p in model.parameters())
    assert BaseSize.of_shapes(shapes) == BaseSize.of(model) == BaseSize(2, blocks[0], 2 * sum(m.weight.numel() for m in linears), total - sum(blocks))
    sound = {name: shape for name, shape in shapes.items() if of_sound(name)}
    assert sound == {name: tuple(p.shape) for name, p in keep_sound(model).named_parameters()}


@pytest.mark.parametrize("component", ["connectors", "video_vae", "audio_vae", "vocoder"])
def test_shapes_of_the_other_components(component, plain, tmp_path):
    save_file(plain, tmp_path / "tiny.safetensors", metadata={"config": json.dumps(tiny_config())})
    found = open_checkpoint(tmp_path / "tiny.safetensors")
    assert component_shapes(found, component) == {name: tuple(t.shape) for name, t in skeleton(found, component).state_dict().items()}


def test_a_layer_that_is_missing_is_named(plain, tmp_path):
    gone = DIT + "transformer_blocks.1.audio_ff.net.2.weight"
    save_file({k: v for k, v in plain.items() if k != gone}, tmp_path / "tiny.safetensors", metadata={"config": json.dumps(tiny_config())})
    with pytest.raises(CheckpointError, match=f"tiny.safetensors, component transformer: missing key {gone}"):
        transformer_shapes(open_checkpoint(tmp_path / "tiny.safetensors"))
