"""Caches a dataset: captions first (the text encoder leaves the device), then clips. What is there is not made again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ..checkpoint.combined import Checkpoint
from ..data.clip import Clip
from ..data.read import reading_facts, source_files
from ..data.scan import DatasetIndex
from ..distributed.world import ALONE, World, agreed, told
from ..errors import LTX2Error
from ..protocols import Reporter, Residency, StopSignal
from ..text.source import TextEncoderSource
from .dataset import CachedClip, DatasetCache
from .digests import Ledger
from .keys import latents_key
from .latents import cache_latents
from .store import Store
from .text import cache_prompts


def _keyed(clips: tuple[Clip, ...], checkpoint: Checkpoint, dtype: torch.dtype, ledger: Ledger) -> list[tuple[str, Clip]]:
    vae = f"{checkpoint.fingerprint('video_vae')}:{dtype}"
    audio_vae = checkpoint.fingerprint("audio_vae")

    def key(c: Clip) -> str:
        digest, *others = (ledger.digest(path) for path in source_files(c))
        facts = reading_facts(c) | ({"sound": others} if others else {})
        return latents_key(
            digest, checkpoint.family.name, vae, audio_vae if c.has_audio else None,
            c.bucket.width, c.bucket.height, c.bucket.frames, c.start, c.frame_rate, **facts,
        )  # fmt: skip

    return [(key(c), c) for c in clips]


def _record(key: str, clip: Clip, text: Mapping[str, str], repeats: int) -> CachedClip:
    return CachedClip(
        source=Path(clip.path).name, latents=key, text=text[clip.caption], caption=clip.caption,
        width=clip.bucket.width, height=clip.bucket.height, frames=clip.bucket.frames,
        frame_rate=clip.frame_rate, has_audio=clip.has_audio, repeats=repeats, has_video=clip.has_video,
    )  # fmt: skip


def build_cache(
    index: DatasetIndex,
    checkpoint: Checkpoint,
    text_encoder: TextEncoderSource,
    directory: Path,
    *,
    residency: Residency,
    reporter: Reporter,
    stop: StopSignal,
    dtype: torch.dtype | None = None,
    world: World = ALONE,
) -> DatasetCache:
    """Encode what ``directory`` lacks of ``index`` and return the set, its manifest saved there.

    Args:
        dtype: of the video VAE; bfloat16 on an accelerator, float32 on a CPU, where bfloat16 is slower.
        world: the processes that share the work, in a folder that all of them see; each gets the whole set.

    Raises:
        LTX2Error: no clip could be read, the text encoder does not fit the checkpoint, or the disk is full.
        Interrupted: a person asked to stop; what was finished is kept and read the next time.
    """
    dtype = dtype or (torch.float32 if residency.device.type == "cpu" else torch.bfloat16)
    services = {"residency": residency, "reporter": reporter, "stop": stop}
    with Ledger(directory) as ledger:
        store = Store(directory, ledger)
        text = cache_prompts([*dict.fromkeys(("", *(c.caption for c in index.clips)))], checkpoint, text_encoder, store, **services, world=world)
        clips = told(world, lambda: _keyed(index.clips, checkpoint, dtype, ledger))
        missing = told(world, lambda: {key: clip for key, clip in clips if not store.sound("latents", key)})
        failed = cache_latents(missing, checkpoint, store, dtype=dtype, **services, world=world)
    records = tuple(_record(key, clip, text, index.spec.repeats) for key, clip in clips if key not in failed)
    if not records:
        raise LTX2Error(f"None of the {len(clips)} clips in {index.spec.folder} could be read: {next(iter(failed.values()))}")
    messages = (*index.messages, *(f"{missing[key].path}: {reason}" for key, reason in failed.items()))
    encoded = len(missing) - len(failed)
    reporter.message(f"{len(records)} clips are cached in {directory}: {encoded} encoded now, {len(records) - encoded} read.")
    cache = DatasetCache(directory, checkpoint.family.name, records, text[""], messages)
    with agreed(world):
        if world.rank == 0:
            cache.save()
    return cache
