"""Gemma3's language model, giving the hidden states of every layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..checkpoint.reader import fill_module
from .source import TextEncoderSource
from .tokenizer import Tokenizer, load_tokenizer

MAX_TOKENS = 1024
_STEP = 64  # lengths that are run, so that a card sees few of them


class TextEncoder(nn.Module):
    """transformers' Gemma3TextModel with its tokenizer."""

    def __init__(self, model: nn.Module, tokenizer: Tokenizer):
        super().__init__()
        self.model, self.tokenizer = model, tokenizer

    def length(self, prompt: str) -> int:
        """S of ``hidden_states`` of ``prompt`` alone."""
        return -(-int(self.tokenizer([prompt], MAX_TOKENS)[1].sum()) // _STEP) * _STEP

    @torch.no_grad()
    def hidden_states(self, prompts: Sequence[str], max_tokens: int = MAX_TOKENS) -> tuple[Tensor, Tensor]:
        """([B, S, D, layers + 1], mask [B, S]): embeddings first, the normed output last, padded left.

        S holds the longest prompt, in steps of 64 and at most ``max_tokens``: what padding would give is not computed, and
        changes no prompt (its positions count from each other, Su et al. 2021).
        """
        device = self.model.embed_tokens.weight.device
        ids, mask = self.tokenizer(prompts, max_tokens)
        used = min(max_tokens, -(-int(mask.sum(1).max()) // _STEP) * _STEP)
        ids, mask = ids[:, -used:].to(device), mask[:, -used:].to(device)
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
