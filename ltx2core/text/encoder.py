"""Gemma3's language model, giving the hidden states of every layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..checkpoint.reader import fill_module
from .source import TextEncoderSource
from .tokenizer import Tokenizer, load_tokenizer

MAX_TOKENS = 1024


class TextEncoder(nn.Module):
    """transformers' Gemma3TextModel with its tokenizer."""

    def __init__(self, model: nn.Module, tokenizer: Tokenizer):
        super().__init__()
        self.model, self.tokenizer = model, tokenizer

    @torch.no_grad()
    def hidden_states(self, prompts: Sequence[str], max_tokens: int = MAX_TOKENS) -> tuple[Tensor, Tensor]:
        """([B, max_tokens, D, layers + 1], mask [B, max_tokens]): embeddings first, the normed output last, padded left."""
        device = self.model.embed_tokens.weight.device
        ids, mask = (t.to(device) for t in self.tokenizer(prompts, max_tokens))
        states = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False).hidden_states
        return torch.stack(states, dim=-1), mask


def _skeleton(source: TextEncoderSource) -> nn.Module:
    """On meta, but for the buffers that no file holds (rotary frequencies, the embedding's scale)."""
    from transformers import Gemma3TextConfig, Gemma3TextModel

    config = Gemma3TextConfig(**source.config)
    with torch.device("meta"):
        model = Gemma3TextModel(config)
    model.rotary_emb = type(model.rotary_emb)(config)
    model.embed_tokens.embed_scale = torch.tensor(config.hidden_size**0.5)
    return model


def load_text_encoder(source: TextEncoderSource, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16) -> TextEncoder:
    """The language model alone, weights read (and dequantised) one by one.

    Raises:
        CheckpointError: a missing or unexpected key, or a wrong shape.
    """
    with torch.inference_mode(False):
        model = fill_module(_skeleton(source), source.weights, source.keymap, "text encoder", torch.device(device), dtype)
        return TextEncoder(model, load_tokenizer(source)).eval()
