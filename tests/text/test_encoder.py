"""The text encoder in its four forms, against transformers' own loading and against the formats written out."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx2core.checkpoint.dequantize import dequantize_nvfp4, unblock_scales
from ltx2core.checkpoint.header import CheckpointError
from ltx2core.text.encoder import load_text_encoder
from ltx2core.text.source import check_matches, open_text_encoder
from ltx2core.tiny_gemma import write_tiny_gemma

KINDS = ("directory", "file", "file_fp8", "file_nvfp4")
PROMPTS = ["A red circle moves right.", "Zwölf Boxkämpfer, 猫, \U0001f3b5"]


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    root = tmp_path_factory.mktemp("gemma")
    return {kind: write_tiny_gemma(root / (kind if kind == "directory" else f"{kind}.safetensors"), kind=kind) for kind in KINDS}


@pytest.fixture(scope="module")
def states(gemma):
    return {k: load_text_encoder(open_text_encoder(p), dtype=torch.float32).hidden_states(PROMPTS, 64) for k, p in gemma.items()}


def test_folder_equals_transformers_own_loading(gemma, states):
    from transformers import Gemma3TextConfig, Gemma3TextModel

    source = open_text_encoder(gemma["directory"])
    model = Gemma3TextModel(Gemma3TextConfig(**source.config)).eval()
    weights = load_file(gemma["directory"] / "model.safetensors")
    model.load_state_dict({k.removeprefix("language_model.model."): v for k, v in weights.items() if k.startswith("language_model.")})
    model.float()
    ours, mask = states["directory"]
    encoder = load_text_encoder(source, dtype=torch.float32)
    ids, _ = encoder.tokenizer(PROMPTS, 64)
    with torch.no_grad():
        theirs = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    assert ours.shape == (2, 64, 64, 4)
    torch.testing.assert_close(ours, torch.stack(theirs, -1))


def test_tokens_equal_sentencepieces_and_are_padded_on_the_left(gemma):
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(gemma["directory"] / "tokenizer.model"))
    for kind in KINDS:
        ids, mask = load_text_encoder(open_text_encoder(gemma[kind])).tokenizer(PROMPTS, 64)
        for row, prompt in enumerate(PROMPTS):
            expected = [2, *processor.EncodeAsIds(prompt)]
            assert ids[row, -len(expected) :].tolist() == expected and mask[row].sum() == len(expected)
            assert processor.DecodeIds(expected[1:]) == prompt


def test_single_file_equals_folder(states):
    torch.testing.assert_close(states["file"][0], states["directory"][0])


@pytest.mark.parametrize(("kind", "near"), [("file_fp8", 0.1), ("file_nvfp4", 0.25)])
def test_quantised_files_are_near(states, kind, near):
    exact, rough = states["file"][0][..., 1:], states[kind][0][..., 1:]
    valid = states["file"][1].bool()
    error = (rough - exact)[valid].norm() / exact[valid].norm()
    assert 0.001 < error < near


def test_padding_does_not_change_a_prompt(gemma):
    encoder = load_text_encoder(open_text_encoder(gemma["file"]), dtype=torch.float32)
    short, mask = encoder.hidden_states(PROMPTS[:1], 32)
    long, _ = encoder.hidden_states(PROMPTS[:1], 96)
    valid = int(mask.sum())
    torch.testing.assert_close(short[:, -valid:], long[:, -valid:], atol=1e-4, rtol=1e-4)


def test_nvfp4_by_the_definition_of_e2m1():
    """sign · 2^(e-1) · (1 + m/2), or m/2 for e = 0, value by value."""
    codes = torch.arange(16)
    expected = torch.tensor([(-1) ** (c >> 3) * ((c & 1) / 2 if (c >> 1 & 3) == 0 else 2 ** ((c >> 1 & 3) - 1) * (1 + (c & 1) / 2)) for c in codes.tolist()])
    packed = (codes[0::2] << 4 | codes[1::2]).to(torch.uint8)[None]
    scales = torch.zeros(128, 4)
    scales[0, 0] = 2.0
    values = dequantize_nvfp4(packed, scales.to(torch.float8_e4m3fn), torch.tensor(0.5))
    assert torch.equal(values, expected[None])


def test_scales_in_the_order_of_cublas():
    """Offset of (row, column) as the documentation gives it, for more than one tile each way."""
    rows, columns = 200, 7
    flat = torch.zeros(2 * 2 * 512)
    for row in range(rows):
        for column in range(columns):
            tile = (row // 128) * 2 + column // 4
            flat[tile * 512 + (row % 32) * 16 + (row % 128 // 32) * 4 + column % 4] = row * 100 + column
    plain = unblock_scales(flat, rows, columns)
    assert torch.equal(plain, (torch.arange(rows)[:, None] * 100 + torch.arange(columns)).float())


def test_older_fp8_marker(gemma, tmp_path, states):
    state = load_file(gemma["file_fp8"])
    state = {k.replace(".weight_scale", ".scale_weight"): v for k, v in state.items() if not k.endswith(".comfy_quant")}
    state["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    save_file(state, tmp_path / "older.safetensors")
    ours, _ = load_text_encoder(open_text_encoder(tmp_path / "older.safetensors"), dtype=torch.float32).hidden_states(PROMPTS, 64)
    torch.testing.assert_close(ours, states["file_fp8"][0])


def test_weights_are_not_views_of_the_file(gemma):
    encoder = load_text_encoder(open_text_encoder(gemma["file"]))
    with safe_open(gemma["file"], framework="pt") as file:
        assert encoder.model.norm.weight.data_ptr() != file.get_tensor("model.norm.weight").data_ptr()
    assert not any(p.requires_grad for p in encoder.parameters())


def test_wrong_size_is_said_with_both_sizes(gemma):
    source = open_text_encoder(gemma["file"])
    check_matches(source, 64, 4)
    with pytest.raises(CheckpointError, match="4 hidden states of width 64.*needs 49 of width 3840.*Gemma3 12B"):
        check_matches(source, 3840, 49)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("spiece_model"), "no tokenizer inside"),
        (lambda s: s.pop("model.embed_tokens.weight"), "no Gemma3 language model"),
        (lambda s: s.pop("model.layers.1.mlp.up_proj.weight"), "missing key model.layers.1.mlp.up_proj.weight"),
        (lambda s: s.update({"model.layers.1.extra.weight": torch.zeros(1)}), "unexpected key model.layers.1.extra.weight"),
    ],
)
def test_broken_files_are_named(gemma, tmp_path, change, said):
    state = load_file(gemma["file"])
    change(state)
    save_file(state, tmp_path / "broken.safetensors")
    with pytest.raises(CheckpointError, match=said):
        load_text_encoder(open_text_encoder(tmp_path / "broken.safetensors"))


def test_a_folder_of_another_model(gemma, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="is a llama, not Gemma3"):
        open_text_encoder(tmp_path)


def test_fingerprint_follows_the_weights(gemma, tmp_path):
    other = write_tiny_gemma(tmp_path / "other.safetensors", seed=1)
    assert open_text_encoder(gemma["file"]).fingerprint == open_text_encoder(gemma["file"]).fingerprint
    assert open_text_encoder(gemma["file"]).fingerprint != open_text_encoder(other).fingerprint
