"""Caches a dataset: captions first (the text encoder leaves the device), then clips. What is there is not made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from ..checkpoint.combined import Checkpoint
from ..data.clip import Clip
from ..data.read import reading_facts, source_files
from ..data.scan import DatasetIndex
from ..data.spec import DatasetSpec
from ..distributed.world import ALONE, World, agreed, told
from ..errors import LTX2Error
from ..models.vae_memory import VaeMemory
from ..protocols import Reporter, Residency, StopSignal
from ..text.source import TextEncoderSource
from .dataset import CachedClip, DatasetCache
from .digests import Ledger
from .keys import latents_key
from .latents import KeyOf, Outcome, cache_latents
from .masks import cache_masks
from .store import Store
from .text import cache_prompts


def _tiles(clip: Clip, vae: VaeMemory | None) -> dict[str, object]:
    """Tiling changes the numbers of pictures larger than a tile; the other ways of saving memory do not."""
    cut = vae is not None and vae.tiling is not None and clip.has_video and max(clip.bucket.width, clip.bucket.height) > vae.tiling.size
    return {"tiling": [vae.tiling.size, vae.tiling.overlap]} if cut else {}


def _namer(checkpoint: Checkpoint, dtype: torch.dtype, ledger: Ledger, vae_memory: VaeMemory | None) -> KeyOf:
    """Gives a clip's key by what its files hold now; LTX2Error where they can't be read any more."""
    vae = f"{checkpoint.fingerprint('video_vae')}:{dtype}"
    audio_vae = checkpoint.fingerprint("audio_vae")

    def key(c: Clip) -> str:
        try:
            digest, *others = (ledger.digest(path) for path in source_files(c))
        except OSError as error:
            raise LTX2Error(f"{Path(c.path).name} cannot be read any more ({error.strerror}); check the file and cache again.") from error
        facts = reading_facts(c) | ({"sound": others} if others else {}) | _tiles(c, vae_memory)
        return latents_key(
            digest, checkpoint.family.name, vae, audio_vae if c.has_audio else None,
            c.bucket.width, c.bucket.height, c.bucket.frames, c.start, c.frame_rate, **facts,
        )  # fmt: skip

    return key


def _keyed(clips: tuple[Clip, ...], key_of: KeyOf) -> tuple[list[tuple[str, Clip]], dict[str, str]]:
    """(key, clip) of every clip, and the files that have gone since the folder was scanned, with the reason."""
    keyed, gone = [], {}
    for clip in clips:
        try:
            keyed.append((key_of(clip), clip))
        except LTX2Error as error:
            gone[clip.path] = str(error)
    return keyed, gone


def _record(key: str, clip: Clip, text: Mapping[str, str], spec: DatasetSpec, mask: str) -> CachedClip:
    return CachedClip(
        source=Path(clip.path).name, latents=key, text=text[clip.caption],
        width=clip.bucket.width, height=clip.bucket.height, frames=clip.bucket.frames,
        frame_rate=clip.frame_rate, has_audio=clip.has_audio, repeats=spec.repeats, has_video=clip.has_video,
        path=Path(clip.path).absolute().as_posix(), dataset=spec.name, batch_size=spec.batch_size, mask=mask,
    )  # fmt: skip


def _encode_missing(
    clips: list[tuple[str, Clip]], missing: Mapping[str, Clip], encode: Callable[[Mapping[str, Clip]], Outcome]
) -> tuple[int, dict[tuple[str, str], str]]:
    """How many clips were encoded, and (key, path) -> reason of those that could not be.

    A file that changed meanwhile may have a twin of its former content that did not, which then is encoded for itself.
    """
    done = encode(missing)
    broken = {(key, missing[key].path): reason for key, reason in done.failed.items()}
    twins = {key: clip for key, clip in clips if key in done.failed and clip.path != missing[key].path}
    if not twins:
        return done.made, broken
    again = encode(twins)
    broken |= {(key, clip.path): again.failed[key] for key, clip in clips if key in again.failed}
    return done.made + again.made, broken


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
    vae: VaeMemory | None = None,
    text_encoder_streamed: bool | None = None,
) -> DatasetCache:
    """Encode what ``directory`` lacks of ``index`` and return the set, its manifest saved there.

    Args:
        dtype: of the video VAE; bfloat16 on an accelerator, float32 on a CPU, where bfloat16 is slower.
        world: the processes that share the work, in a folder that all of them see; each gets the whole set.
        vae: how the video VAE saves memory; the usual way when None.
        text_encoder_streamed: see :func:`~ltx2core.cache.text.cache_prompts`.

    Raises:
        LTX2Error: no clip could be read, the text encoder does not fit the checkpoint, or the disk is full.
        Interrupted: a person asked to stop; what was finished is kept and read the next time.
    """
    dtype = dtype or (torch.float32 if residency.device.type == "cpu" else torch.bfloat16)
    services = {"residency": residency, "reporter": reporter, "stop": stop}
    with Ledger(directory) as ledger:
        store = Store(directory, ledger)
        text = cache_prompts([*dict.fromkeys(("", *(c.caption for c in index.clips)))], checkpoint, text_encoder, store, **services, world=world, streamed=text_encoder_streamed)
        key_of = _namer(checkpoint, dtype, ledger, vae)
        clips, gone = told(world, lambda: _keyed(index.clips, key_of))
        encode = partial(cache_latents, checkpoint=checkpoint, store=store, key_of=key_of, dtype=dtype, **services, world=world, vae=vae)
        made, broken = _encode_missing(clips, told(world, lambda: {key: clip for key, clip in clips if not store.sound("latents", key)}), encode)
        kept = [(key, clip) for key, clip in clips if (key, clip.path) not in broken]
        masks, unmasked = cache_masks([clip for _, clip in kept], index.spec.mask_type, store, reporter=reporter, stop=stop, world=world)
    records = tuple(_record(key, clip, text, index.spec, masks.get(i, "")) for i, (key, clip) in enumerate(kept))
    if not records:
        raise LTX2Error(f"None of the {len(index.clips)} clips in {index.spec.folder} could be read: {next(iter([*broken.values(), *gone.values()]))}")
    for reason in gone.values():
        reporter.message(reason, "warning")
    messages = (*index.messages, *(f"{path}: {reason}" for (_, path), reason in broken.items()), *gone.values(), *unmasked)
    reporter.message(f"{len(records)} clips are cached in {directory}: {made} encoded now, {len(records) - made} read.")
    cache = DatasetCache(directory, checkpoint.family.name, records, text[""], messages)
    with agreed(world):
        if world.rank == 0:
            cache.save()
    return cache
