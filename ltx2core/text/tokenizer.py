"""Gemma's tokenizer, from the files beside the weights or from inside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from ..checkpoint.header import CheckpointError
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


def _sentencepiece(model: bytes, name: str) -> _Encoder:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:
        raise _broken(name) from error
    _check_ids(name, processor.bos_id(), processor.pad_id())
    return processor.EncodeAsIds


def _tokenizers(path: Path) -> _Encoder:
    from tokenizers import Tokenizer as Fast

    try:
        fast = Fast.from_file(str(path))
    except Exception as error:  # the library raises no narrower class
        raise _broken(path.name) from error
    # Whoever saved the file may have left a length in it.
    fast.no_padding()
    fast.no_truncation()
    _check_ids(path.name, fast.token_to_id("<bos>"), fast.token_to_id("<pad>"))
    return lambda text: fast.encode(text, add_special_tokens=False).ids


def _broken(name: str) -> CheckpointError:
    return CheckpointError(f"The tokenizer in {name} cannot be read; download it again.")


def _check_ids(name: str, bos: int | None, pad: int | None) -> None:
    if (bos, pad) != (BOS, PAD):
        raise CheckpointError(f"The tokenizer in {name} is not Gemma3's (its begin-of-text is {bos}, its padding {pad}); use the one that came with the weights.")


def load_tokenizer(source: TextEncoderSource) -> Tokenizer:
    """The tokenizer of the file or folder; nothing is downloaded.

    Raises:
        CheckpointError: it cannot be read, or is another model's.
    """
    if source.tokenizer is None:
        with safe_open(source.path, framework="pt") as file:
            return Tokenizer(_sentencepiece(file.get_tensor(TOKENIZER_KEY).numpy().tobytes(), source.path.name))
    if source.tokenizer.suffix == ".json":
        return Tokenizer(_tokenizers(source.tokenizer))
    return Tokenizer(_sentencepiece(source.tokenizer.read_bytes(), source.tokenizer.name))
