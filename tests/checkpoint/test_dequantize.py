"""Quantised combined files, against the numbers that were quantised and the formats written out here."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.checkpoint.dequantize import quantised_layers
from ltx2core.checkpoint.header import CheckpointError, read_header
from ltx2core.checkpoint.inspect import inspect_checkpoint
from ltx2core.models.build import load_connectors, load_transformer
from ltx2core.tiny import tiny_config, write_tiny_checkpoint

LAYER = "model.diffusion_model.transformer_blocks.0.attn1.to_q"
MODULE = "transformer_blocks.0.attn1.to_q"
CONFIG = {"config": json.dumps(tiny_config())}
E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return load_file(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny.safetensors"))


@pytest.fixture
def write(plain, tmp_path):
    """The tiny checkpoint with some tensors replaced (None takes one out)."""

    def save(changes, metadata=CONFIG):
        state = {k: v for k, v in {**plain, **changes}.items() if v is not None}
        save_file(state, tmp_path / "quantised.safetensors", metadata=metadata)
        return tmp_path / "quantised.safetensors"

    return save


def marker(value):
    return torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)


def loaded(path, name=MODULE):
    return load_transformer(open_checkpoint(path), dtype=torch.float32).get_submodule(name).weight


def fp8(weight, dtype=torch.float8_e4m3fn, scale=0.0078125):
    return (weight.float() / scale).clamp(-448, 448).to(dtype), torch.tensor(scale)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("how", ["types", "comfy_quant", "metadata", "scaled_fp8"])
def test_fp8_is_the_stored_number_times_its_scale(plain, write, how, shape):
    values, scale = fp8(plain[LAYER + ".weight"])
    old = how == "scaled_fp8"
    changes = {LAYER + ".weight": values, LAYER + (".scale_weight" if old else ".weight_scale"): scale.reshape(shape)}
    changes[LAYER + (".scale_input" if old else ".input_scale")] = torch.tensor(3.0)
    metadata = dict(CONFIG)
    if how == "comfy_quant":
        changes[LAYER + ".comfy_quant"] = marker({"format": "float8_e4m3fn", "full_precision_matrix_mult": True})
    elif how == "metadata":
        metadata["_quantization_metadata"] = json.dumps({"format_version": "1.0", "layers": {LAYER: {"format": "float8_e4m3fn"}}})
    elif old:
        changes["model.diffusion_model.scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    path = write(changes, metadata)
    assert torch.equal(loaded(path), values.float() * 0.0078125)
    assert open_checkpoint(path).flavour == "dev-fp8"


def test_fp8_with_a_scale_a_row(plain, write):
    values, _ = fp8(plain[LAYER + ".weight"])
    scales = torch.rand(values.shape[0])
    expected = torch.stack([row * scale for row, scale in zip(values.float(), scales, strict=True)])
    assert torch.equal(loaded(write({LAYER + ".weight": values, LAYER + ".weight_scale": scales})), expected)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_fp8_without_a_scale_is_a_cast(plain, write, dtype):
    bias = plain[LAYER + ".bias"].to(dtype)
    path = write({LAYER + ".weight": plain[LAYER + ".weight"].to(dtype), LAYER + ".bias": bias})
    module = load_transformer(open_checkpoint(path), dtype=torch.float32).get_submodule(MODULE)
    assert torch.equal(module.weight, plain[LAYER + ".weight"].to(dtype).float()) and torch.equal(module.bias, bias.float())


def packed_nvfp4(weight, scale_2=0.02):
    """Codes, scales and the numbers they stand for, block by block and value by value."""
    rows, columns = weight.shape
    codes, expected = torch.zeros(rows, columns, dtype=torch.uint8), torch.zeros(rows, columns)
    across = -(-columns // 64)
    scales = torch.zeros(-(-rows // 128) * across * 512)
    for row in range(rows):
        for block in range(columns // 16):
            piece = slice(block * 16, block * 16 + 16)
            scale = (weight[row, piece].abs().max() / 6 / scale_2).to(torch.float8_e4m3fn).float()
            magnitude = (weight[row, piece].abs()[:, None] / (scale * scale_2) - E2M1).abs().argmin(-1)
            codes[row, piece] = magnitude.byte() + 8 * (weight[row, piece] < 0)
            expected[row, piece] = E2M1[magnitude] * weight[row, piece].sign() * scale * scale_2
            scales[((row // 128) * across + block // 4) * 512 + (row % 32) * 16 + (row % 128 // 32) * 4 + block % 4] = scale
    return codes[:, 0::2] * 16 + codes[:, 1::2], scales.to(torch.float8_e4m3fn).reshape(-1, across * 4), torch.tensor(scale_2), expected


@pytest.mark.parametrize("marked", [True, False])
def test_nvfp4_layer_of_a_combined_file(plain, write, marked):
    layer, module = LAYER.replace("attn1", "audio_to_video_attn"), MODULE.replace("attn1", "audio_to_video_attn")
    packed, scales, scale_2, expected = packed_nvfp4(plain[layer + ".weight"].float())
    assert scales.shape[0] > packed.shape[0] and (packed.shape[1] * 2) % 64 == 0
    changes = {layer + ".weight": packed, layer + ".weight_scale": scales, layer + ".weight_scale_2": scale_2, layer + ".input_scale": torch.tensor(1.0)}
    path = write({**changes, layer + ".comfy_quant": marker({"format": "nvfp4"})} if marked else changes)
    torch.testing.assert_close(loaded(path, module), expected, rtol=1e-6, atol=0)
    assert open_checkpoint(path).flavour == "dev-fp4"


def test_inspection_counts_the_model_s_numbers_not_the_file_s(plain, write):
    before = inspect_checkpoint(write({}))["components"]["transformer"]["parameters"]
    packed, scales, scale_2, _ = packed_nvfp4(plain[LAYER + ".weight"].float())
    path = write({LAYER + ".weight": packed, LAYER + ".weight_scale": scales, LAYER + ".weight_scale_2": scale_2, LAYER + ".comfy_quant": marker({"format": "nvfp4"})})
    record = inspect_checkpoint(path)
    assert record["components"]["transformer"]["parameters"] == before and record["flavour"] == "dev-fp4"


def test_markers_alone_do_not_make_a_file_4_bit(plain, write):
    values, scale = fp8(plain[LAYER + ".weight"])
    marked = {LAYER + ".weight": values, LAYER + ".weight_scale": scale, LAYER + ".comfy_quant": marker({"format": "float8_e4m3fn"})}
    assert open_checkpoint(write(marked)).flavour == "dev-fp8"


def test_scales_are_part_of_what_a_cache_is_keyed_by(plain, write):
    values, scale = fp8(plain[LAYER + ".weight"])
    one = open_checkpoint(write({LAYER + ".weight": values, LAYER + ".weight_scale": scale})).fingerprint("transformer")
    assert one != open_checkpoint(write({LAYER + ".weight": values, LAYER + ".weight_scale": scale * 2})).fingerprint("transformer")


def _bad_cases(weight):
    values, scale = fp8(weight)
    packed, scales, scale_2, _ = packed_nvfp4(weight.float())
    four = {LAYER + ".weight": packed, LAYER + ".weight_scale": scales, LAYER + ".weight_scale_2": scale_2}
    eight = {LAYER + ".weight": values, LAYER + ".weight_scale": scale}
    return {
        "unknown format": ({**eight, LAYER + ".comfy_quant": marker({"format": "mxfp8"})}, "to_q is stored as mxfp8.*use a bf16, fp8 or fp4"),
        "integers": ({LAYER + ".weight": values.view(torch.int8)}, "to_q is stored as I8"),
        "no block scales": ({**four, LAYER + ".weight_scale": None, LAYER + ".comfy_quant": marker({"format": "nvfp4"})}, "4-bit layer .*to_q lacks its scales"),
        "plain scales": ({**four, LAYER + ".weight_scale": scales[:64]}, "weight_scale has shape .* does not fit a nvfp4 weight"),
        "scales of blocks": ({**eight, LAYER + ".weight_scale": torch.ones(4, 4)}, "weight_scale has shape .* does not fit a float8_e4m3fn weight"),
        "marker is no JSON": ({**eight, LAYER + ".comfy_quant": torch.zeros(4, dtype=torch.uint8)}, "record of quantised layers cannot be read"),
        "half as wide": ({**four, LAYER + ".weight": packed[:, : packed.shape[1] // 2].contiguous()}, "to_q.weight.* has shape"),
    }


@pytest.mark.parametrize("name", ["unknown format", "integers", "no block scales", "plain scales", "scales of blocks", "marker is no JSON", "half as wide"])
def test_what_cannot_be_read_is_said(plain, write, name):
    changes, said = _bad_cases(plain[LAYER + ".weight"])[name]
    with pytest.raises(CheckpointError, match=said) as raised:
        load_transformer(open_checkpoint(write(changes)))
    assert "quantised.safetensors" in str(raised.value) and "\n" not in str(raised.value)


def test_a_format_in_another_component_does_not_stop_this_one(plain, write):
    path = write({LAYER + ".weight": plain[LAYER + ".weight"].to(torch.int8)})
    load_connectors(open_checkpoint(path))
    with pytest.raises(CheckpointError, match="stored as I8"):
        quantised_layers(read_header(path))


def test_unreadable_metadata_is_said(plain, write):
    path = write({}, {**CONFIG, "_quantization_metadata": '{"layers": {"a": {}}}'})
    with pytest.raises(CheckpointError, match="record of quantised layers cannot be read"):
        load_transformer(open_checkpoint(path))
