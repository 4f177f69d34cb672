"""Text features of every caption, after the connectors; the text encoder is on the device only here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice

import torch

from ..checkpoint.combined import Checkpoint
from ..distributed.world import ALONE, World, agreed, share, told
from ..memory.layers import needs_streaming, streamed_layers
from ..models.build import hidden_states_needed, load_connectors
from ..protocols import Interrupted, Progress, Reporter, Residency, StopSignal
from ..text.encoder import load_text_encoder
from ..text.features import TextFeatures, encode_prompts
from ..text.source import TextEncoderSource, check_matches
from .ahead import CAPTIONS, TEXT, WRITING, Stages
from .claims import Claims, rounds
from .keys import text_key
from .store import Store

_WORK = 2 * 2**30  # all layers' states of 1024 tokens, twice
_TOGETHER = 8  # captions between two looks at the stop signal


@dataclass(frozen=True)
class PromptKeys:
    """Names the entries of prompts for one text encoder and one checkpoint."""

    family: str
    text_encoder: str
    connectors: str

    @classmethod
    def of(cls, checkpoint: Checkpoint, source: TextEncoderSource) -> PromptKeys:
        return cls(checkpoint.family.name, source.fingerprint, checkpoint.fingerprint("connectors"))

    def __call__(self, prompt: str) -> str:
        return text_key(prompt, self.family, self.text_encoder, self.connectors)


def cache_prompts(
    prompts: Sequence[str],
    checkpoint: Checkpoint,
    source: TextEncoderSource,
    store: Store,
    *,
    residency: Residency,
    reporter: Reporter,
    stop: StopSignal,
    world: World = ALONE,
    streamed: bool | None = None,
) -> dict[str, str]:
    """Encode what the store lacks, each process of ``world`` its share; returns {prompt: key}. Both models leave the device
    at the end.

    Args:
        streamed: keep the text encoder's layers in host memory; None does where the device has no room for them.

    Raises:
        LTX2Error: the text encoder is not the one this checkpoint was made for.
        Interrupted: a person asked to stop; every finished prompt is kept.
    """
    check_matches(source, *hidden_states_needed(checkpoint))
    name = PromptKeys.of(checkpoint, source)
    keys = {prompt: name(prompt) for prompt in prompts}
    missing = told(world, lambda: {key: prompt for prompt, key in keys.items() if not store.sound("text", key)})
    with agreed(world):
        mine = share(missing, world)
        if mine:
            _encode_all(mine, checkpoint, source, store, residency, reporter, stop, streamed)
    return keys


def _encode_all(missing: Mapping[str, str], checkpoint: Checkpoint, source: TextEncoderSource, store: Store, residency: Residency, reporter: Reporter,
                stop: StopSignal, streamed: bool | None) -> None:  # fmt: skip
    # Gemma and the connectors in turn on the device would cost a transfer a prompt; together they cost 3 GB more.
    encoder = load_text_encoder(source)
    connectors = load_connectors(checkpoint)
    streamed = needs_streaming(encoder, residency, _WORK) if streamed is None else streamed
    if streamed:
        reporter.message("The text encoder's layers wait in host memory and are copied to the device one by one.")
    layers = streamed_layers(encoder.model.layers, residency.device) if streamed else nullcontext()
    with torch.inference_mode(False), torch.no_grad(), layers, residency.use(encoder), residency.use(connectors), Claims(store.root) as claims:
        stages, done = Stages(), 0

        def check() -> None:
            if stop.requested():
                raise Interrupted(f"Stopped after {done} of {len(missing)} captions; queue again and it goes on from there.")

        for group in (g for items in rounds(missing, "text", store, claims, check) for g in _in_groups(items)):
            check()
            with stages.of(TEXT):
                found = [
                    {"video": f.video[0].to("cpu", torch.bfloat16), "audio": f.audio[0].to("cpu", torch.bfloat16)}
                    for f in encode_prompts(encoder, connectors, [prompt for _, prompt in group])
                ]
            for (key, prompt), tensors in zip(group, found, strict=True):
                with stages.of(WRITING):
                    store.write("text", key, tensors, {"prompt": prompt})
                claims.release(key)
                done += 1
                reporter.progress(Progress("captions", done, len(missing), prompt[:60]))
    reporter.message(stages.told(done, CAPTIONS))
    residency.release(encoder)
    residency.release(connectors)


def _in_groups(items: Iterator[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    while group := list(islice(items, _TOGETHER)):
        yield group


def read_features(store: Store, key: str) -> TextFeatures:
    """One prompt's features, [1, 1024, D] bfloat16."""
    tensors, _ = store.read("text", key)
    return TextFeatures(tensors["video"][None], tensors["audio"][None])
