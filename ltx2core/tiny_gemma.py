"""A tiny random Gemma3 with a tokenizer trained on the spot, in the four forms in which people have the real one."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

Kind = Literal["directory", "file", "file_fp8", "file_nvfp4"]
_HEAD_DIM, _HEADS, _KV_HEADS = 16, 4, 2
_SENTENCES = (
    "A red circle moves right over a dark background, with a low tone.",
    "A green square moves left over a dark background, with a middle tone.",
    "A blue triangle moves up over a bright background, without sound.",
    "A yellow circle moves down slowly while a quiet voice speaks in the room.",
    "A purple square turns around quickly, the camera pans right and zooms in.",
    "Music plays, people walk through the rain, a dog runs along the beach.",
)


def tokenizer_model() -> bytes:
    """A sentencepiece model with Gemma's special tokens (pad 0, eos 1, bos 2, unk 3), byte fallback, and text left as it is."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 4), model_writer=model, vocab_size=400, model_type="bpe", byte_fallback=True,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>",
        user_defined_symbols=["<mask>", "<start_of_turn>", "<end_of_turn>"], normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=False, split_digits=True, hard_vocab_limit=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    return model.getvalue()


def _config(vocabulary: int, **sizes: int):
    from transformers import Gemma3TextConfig

    return Gemma3TextConfig(
        vocab_size=vocabulary, **sizes, query_pre_attn_scalar=sizes["head_dim"], sliding_window=1024,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    )  # fmt: skip


def _shapes(config) -> dict[str, torch.Size]:
    from transformers import Gemma3TextModel

    with torch.device("meta"):
        return {k: v.shape for k, v in Gemma3TextModel(config).state_dict().items()}


def gemma_shapes(vocabulary: int, **sizes: int) -> dict[str, torch.Size]:
    """Names and shapes of transformers' Gemma3TextModel. ``sizes``: hidden_size, intermediate_size, num_hidden_layers,
    num_attention_heads, num_key_value_heads and head_dim.
    """
    return _shapes(_config(vocabulary, **sizes))


def _weights(config, seed: int) -> dict[str, Tensor]:
    shapes = _shapes(config)
    generator = torch.Generator().manual_seed(seed)
    return {k: torch.randn(s, generator=generator) * (0.1 if len(s) == 1 else s[-1] ** -0.5) for k, s in shapes.items()}


def is_quantised(key: str) -> bool:
    """The linears of the layers, as published files do; embeddings and norms stay bf16."""
    return key.startswith("layers.") and key.endswith("_proj.weight")


def _fp8(key: str, weight: Tensor) -> dict[str, Tensor]:
    layer = key.removesuffix(".weight")
    scale = weight.abs().max() / 448.0
    marker = torch.tensor(list(json.dumps({"format": "float8_e4m3fn"}).encode()), dtype=torch.uint8)
    return {key: (weight / scale).to(torch.float8_e4m3fn), f"{layer}.weight_scale": scale, f"{layer}.comfy_quant": marker}


def _nvfp4(key: str, weight: Tensor) -> dict[str, Tensor]:
    """Nearest of the eight magnitudes, an E4M3 scale for 16 values, one float32 scale for all; scales in cuBLAS order."""
    layer = key.removesuffix(".weight")
    rows, columns = weight.shape
    blocks = weight.unflatten(1, (-1, 16))
    scale_2 = weight.abs().max() / (448.0 * 6.0)
    scales = (blocks.abs().amax(-1) / 6.0 / scale_2).clamp(max=448.0).to(torch.float8_e4m3fn)
    scaled = blocks / (scales.float() * scale_2).clamp(min=1e-12)[..., None]
    magnitudes = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    codes = (scaled.abs()[..., None] - magnitudes).abs().argmin(-1) + 8 * (scaled < 0)
    codes = codes.flatten(1).to(torch.uint8)
    packed = codes[:, 0::2] << 4 | codes[:, 1::2]
    padded = torch.zeros(-(-rows // 128) * 128, -(-columns // 64) * 4)
    padded[:rows, : columns // 16] = scales.float()
    ordered = padded.reshape(padded.shape[0] // 128, 4, 32, padded.shape[1] // 4, 4).permute(0, 3, 2, 1, 4).reshape(padded.shape)
    marker = torch.tensor(list(json.dumps({"format": "nvfp4"}).encode()), dtype=torch.uint8)
    return {
        key: packed, f"{layer}.weight_scale": ordered.to(torch.float8_e4m3fn), f"{layer}.weight_scale_2": scale_2, f"{layer}.comfy_quant": marker,
    }  # fmt: skip


def _write_directory(path: Path, config, weights: dict[str, Tensor], tokenizer: bytes) -> None:
    path.mkdir(parents=True, exist_ok=True)
    state = {f"language_model.model.{k}": v.bfloat16() for k, v in weights.items()}
    # The published folder has a vision tower too; it must be passed over.
    state["vision_tower.vision_model.embeddings.patch_embedding.weight"] = torch.zeros(4, 3, 2, 2, dtype=torch.bfloat16)
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    text = {k: v for k, v in config.to_dict().items() if k not in ("architectures", "dtype", "transformers_version")}
    (path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}, indent=1), encoding="utf-8")
    (path / "tokenizer.model").write_bytes(tokenizer)


def write_tiny_gemma(path: str | Path, hidden_size: int = 64, num_layers: int = 3, kind: Kind = "file", seed: int = 0) -> Path:
    """Write a tiny Gemma3: a Hugging Face folder, or ComfyUI's single file in bf16, fp8 or fp4; about a second."""
    path, tokenizer = Path(path), tokenizer_model()
    import sentencepiece

    sizes = {
        "hidden_size": hidden_size, "intermediate_size": hidden_size * 2, "num_hidden_layers": num_layers, "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS, "head_dim": _HEAD_DIM,
    }  # fmt: skip
    config = _config(sentencepiece.SentencePieceProcessor(model_proto=tokenizer).GetPieceSize(), **sizes)
    weights = _weights(config, seed)
    if kind == "directory":
        _write_directory(path, config, weights, tokenizer)
        return path
    quantise = {"file_fp8": _fp8, "file_nvfp4": _nvfp4}.get(kind)
    state = {}
    for key, weight in weights.items():
        state |= quantise("model." + key, weight) if quantise and is_quantised(key) else {"model." + key: weight.bfloat16()}
    state["spiece_model"] = torch.frombuffer(bytearray(tokenizer), dtype=torch.uint8)
    save_file(state, path)
    return path
