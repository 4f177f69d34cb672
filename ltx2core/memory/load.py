"""What a run asks of the memory: its largest batch, and the values that it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..checkpoint.shapes import Shapes, block_count
from ..geometry import audio_latent_length, video_tokens
from ..train.settings import RunConfig
from ..train.targets import choose
from ..train.trained_values import trained_values
from .plan import Load
from .suited import before_blocks


def load_of(run: RunConfig, shapes: Shapes, sizes: Sequence[tuple[int, int, int, float, int]], has_audio: bool) -> Load:
    """The largest batch and the values that the run trains.

    Args:
        shapes: of the transformer's weights; of its sound's branch alone where only sound is trained.
        sizes: (frames, height, width, frame rate, its dataset's batch size or 0) of every clip.

    Raises:
        LTX2Error: a target that is not among the layers.
    """
    alone, whole = run.train.audio_only, run.train.global_batch > 0  # datasets have no batches of their own in a global one
    counts = [((0 if alone else video_tokens(f, h, w)) + audio_latent_length(f, rate), (0 if whole else own) or run.train.batch_size) for f, h, w, rate, own in sizes]
    tokens, samples = max(t * n for t, n in counts), max(n for _, n in counts)
    modules = choose(run.lora.targets, block_count(shapes), has_audio, alone).modules
    written_out = run.lora.kind == "lora" and not before_blocks(modules)
    saved = trained = trained_values(run.lora, shapes, modules)
    if run.lora.kind == "lokr":
        # The plan's constants are those of LoRAs. A LoKr trains fewer values and makes larger products on the way.
        trained = max(saved, trained_values(replace(run.lora, kind="lora"), shapes, modules))
    return Load(tokens, samples, trained, run.train.optimizer if run.train.optimizer == "adamw_bf16" else "adamw", saved, written_out)
