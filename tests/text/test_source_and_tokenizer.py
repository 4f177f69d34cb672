"""Opening Gemma3 by headers alone, in every form people have it, and its tokenizer against transformers' own."""

import io
import json
import shutil

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file

from ltx2core.checkpoint.header import CheckpointError
from ltx2core.text.encoder import load_text_encoder
from ltx2core.text.source import open_text_encoder
from ltx2core.text.tokenizer import load_tokenizer
from ltx2core.tiny_gemma import tokenizer_model, write_tiny_gemma

PROMPTS = ["A red circle moves right.", "  Two  spaces\tand\nlines, 123  ", "Zwölf Boxkämpfer, 猫, \U0001f3b5", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_gemma(tmp_path_factory.mktemp("gemma") / "gemma", kind="directory")


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return write_tiny_gemma(tmp_path_factory.mktemp("gemma") / "gemma.safetensors")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "pipeline" / "text_encoder")


@pytest.fixture(scope="module")
def transformers_tokenizer():
    """GemmaTokenizer with the same pieces; a piece's merges come from every way to cut it in two, best piece first."""
    from tokenizers.processors import TemplateProcessing
    from transformers import GemmaTokenizer

    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_model())
    pieces = [processor.IdToPiece(i) for i in range(processor.GetPieceSize())]
    vocabulary = {p: i for i, p in enumerate(pieces)}
    normal = [p for i, p in enumerate(pieces) if not (processor.IsControl(i) or processor.IsByte(i) or processor.IsUnknown(i) or p.startswith("<"))]
    merges = [(p[:cut], p[cut:]) for p in normal for cut in range(1, len(p)) if p[:cut] in vocabulary and p[cut:] in vocabulary]
    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=merges)
    # As in the published tokenizer.json.
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return tokenizer


def test_tokens_and_padding_equal_transformers(folder, transformers_tokenizer):
    ids, mask = load_tokenizer(open_text_encoder(folder))(PROMPTS, 96)
    theirs = transformers_tokenizer([p.strip() for p in PROMPTS], padding="max_length", max_length=96, truncation=True, return_tensors="pt")
    assert torch.equal(ids, theirs["input_ids"]) and torch.equal(mask, theirs["attention_mask"])


def test_long_texts_are_cut_as_transformers_cuts_them(folder, transformers_tokenizer):
    prompt = PROMPTS[0] * 40
    ids, mask = load_tokenizer(open_text_encoder(folder))([prompt], 96)
    theirs = transformers_tokenizer([prompt], padding="max_length", max_length=96, truncation=True, return_tensors="pt")
    assert mask.all() and torch.equal(ids, theirs["input_ids"])


def test_a_folder_with_only_tokenizer_json(copy, transformers_tokenizer):
    expected = load_tokenizer(open_text_encoder(copy))(PROMPTS, 96)
    (copy / "tokenizer.model").unlink()
    transformers_tokenizer.save_pretrained(copy)
    source = open_text_encoder(copy)
    assert source.tokenizer == copy / "tokenizer.json"
    assert all(torch.equal(a, b) for a, b in zip(load_tokenizer(source)(PROMPTS, 96), expected, strict=True))


def test_a_pipeline_folder_keeps_its_tokenizer_beside(copy):
    beside = copy.parent / "tokenizer"
    beside.mkdir()
    shutil.move(copy / "tokenizer.model", beside / "tokenizer.model")
    source = open_text_encoder(copy)
    before = source.fingerprint
    assert source.tokenizer == beside / "tokenizer.model" and load_text_encoder(source).hidden_states([""], 8)[1].sum() == 1
    (beside / "tokenizer.model").write_bytes(b"another")
    assert open_text_encoder(copy).fingerprint != before


def shard(folder):
    """The folder's weights in two files with an index, as transformers saves large models."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for name, keys in halves.items():
        save_file({k: state[k] for k in keys}, folder / name)
    index = {"metadata": {}, "weight_map": {k: name for name, keys in halves.items() for k in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def test_shards_equal_one_file(folder, copy):
    shard(copy)
    # A file that the index does not name (the original layout, an adapter) is not part of the model.
    save_file({"other.weight": torch.zeros(2)}, copy / "consolidated.safetensors")
    whole, parts = (load_text_encoder(open_text_encoder(p)).hidden_states(PROMPTS, 32)[0] for p in (folder, copy))
    assert torch.equal(whole, parts)


@pytest.mark.parametrize("prefix", ["model.language_model.", "language_model.model.", "model.", ""])
def test_every_prefix_of_the_language_model(folder, copy, prefix):
    state = load_file(copy / "model.safetensors")
    renamed = {k.replace("language_model.model.", prefix): v for k, v in state.items()}
    renamed[prefix + "lm_head.weight" if prefix else "lm_head.weight"] = torch.zeros(2, 2)
    save_file(renamed, copy / "model.safetensors")
    whole, parts = (load_text_encoder(open_text_encoder(p)).hidden_states(PROMPTS[:1], 32)[0] for p in (folder, copy))
    assert torch.equal(whole, parts)


def test_the_published_configuration_and_a_single_file_make_the_same_model(tmp_path):
    """google/gemma-3-12b-it's own text_config against the shapes of a 12B file (headers only, one layer's keys are read)."""
    from transformers import Gemma3TextConfig

    from ltx2core.checkpoint.header import Header, TensorInfo
    from ltx2core.text.source import _config_from_shapes

    published = {
        "hidden_size": 3840, "intermediate_size": 15360, "model_type": "gemma3_text", "num_attention_heads": 16, "num_hidden_layers": 48,
        "num_key_value_heads": 8, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
    }  # fmt: skip
    shapes = {
        "embed_tokens": (262208, 3840), "layers.0.self_attn.q_norm": (256,), "layers.0.self_attn.q_proj": (4096, 3840),
        "layers.0.self_attn.k_proj": (2048, 3840), "layers.0.mlp.gate_proj": (15360, 3840), "layers.47.mlp.gate_proj": (15360, 3840),
    }  # fmt: skip
    tensors = {f"model.{k}.weight": TensorInfo("BF16", s, 0, 0) for k, s in shapes.items()}
    header = Header(tmp_path / "gemma.safetensors", tensors, {}, 0, 0, "")
    assert Gemma3TextConfig(**_config_from_shapes(header, "model.")).to_dict() == Gemma3TextConfig(**published).to_dict()


def without(*names):
    def change(folder):
        for name in names:
            (folder / name).unlink()

    return change


def llama_tokenizer(folder):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e"] * 9), model_writer=model, vocab_size=20, hard_vocab_limit=False, minloglevel=2, pad_id=3, bos_id=1, eos_id=2, unk_id=0
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())


def lost_shard(folder):
    shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def truncated(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def config(value):
    return lambda folder: (folder / "config.json").write_text(value, encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("tokenizer.model"), "has no tokenizer.model or tokenizer.json; download the whole folder"),
        (without("model.safetensors"), "has no .safetensors weights"),
        (without("config.json"), "no readable config.json"),
        (config("[]"), "no readable config.json"),
        (config('{"model_type": "gemma3", "text_config": {}}'), "lacks hidden_size, num_hidden_layers"),
        (config('{"model_type": "gemma2"}'), "is a gemma2, not Gemma3"),
        (lost_shard, r"lacks model-00002-of-00002.safetensors \(1 of its 2 weight files"),
        (truncated, "model.safetensors is truncated"),
        (lambda f: (f / "tokenizer.model").write_bytes(b"\x00garbage"), "tokenizer in tokenizer.model cannot be read"),
        (llama_tokenizer, "tokenizer in tokenizer.model is not Gemma3's .*begin-of-text is 1"),
        (lambda f: shutil.move(f / "tokenizer.model", f / "tokenizer.json"), "tokenizer in tokenizer.json cannot be read"),
    ],
)
def test_a_broken_folder_is_one_clear_sentence(copy, change, said):
    change(copy)
    with pytest.raises(CheckpointError, match=said) as raised:
        load_text_encoder(open_text_encoder(copy))
    assert "\n" not in str(raised.value)


def test_a_truncated_file_is_said_before_anything_is_read(single, tmp_path):
    whole = single.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-1000])
    with pytest.raises(CheckpointError, match="cut.safetensors is truncated.*download the file again"):
        open_text_encoder(tmp_path / "cut.safetensors")


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="No file at"):
        open_text_encoder(tmp_path / "gemma.safetensors")
