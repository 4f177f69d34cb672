"""Gemma's tokenizer, from the files beside the weights or from inside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from .source import TOKENIZER_KEY, TextEncoderSource

BOS, PAD = 2, 0


class _Encoder(Protocol):
    def __call__(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class Tokenizer:
    """Text to ids, begin-of-text in front, padded on the left."""

    encode: _Encoder

    def __call__(self, prompts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
        """ids int64 [B, length] and mask [B, length] (1 = a token); longer texts are cut at the end."""
        ids = torch.full((len(prompts), length), PAD)
        mask = torch.zeros(len(prompts), length, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            tokens = [BOS, *self.encode(prompt.strip())][:length]
            ids[row, length - len(tokens) :] = torch.tensor(tokens)
            mask[row, length - len(tokens) :] = 1
        return ids, mask


def _sentencepiece(model: bytes) -> _Encoder:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    return processor.EncodeAsIds


def _tokenizers(path) -> _Encoder:
    from tokenizers import Tokenizer as Fast

    fast = Fast.from_file(str(path))
    return lambda text: fast.encode(text, add_special_tokens=False).ids


def load_tokenizer(source: TextEncoderSource) -> Tokenizer:
    """sentencepiece's model where there is one, since the file's and the folder's then give the same ids."""
    if source.path.is_dir():
        model = source.path / "tokenizer.model"
        return Tokenizer(_sentencepiece(model.read_bytes()) if model.is_file() else _tokenizers(source.path / "tokenizer.json"))
    with safe_open(source.path, framework="pt") as file:
        return Tokenizer(_sentencepiece(bytes(file.get_tensor(TOKENIZER_KEY).numpy().tobytes())))
