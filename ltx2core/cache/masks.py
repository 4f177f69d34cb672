"""Masks of clips beside their latents, entries of their own: a mask that changes leaves the latents as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from torch import Tensor

from ..data.clip import Clip
from ..data.masks import mask_facts, read_mask
from ..distributed.world import World, agreed, share, told
from ..errors import LTX2Error
from ..protocols import Interrupted, Progress, Reporter, StopSignal
from .ahead import read_ahead
from .dataset import MASKS
from .digests import Ledger
from .keys import content_key
from .store import Store


def _key(clip: Clip, mask_type: str, ledger: Ledger) -> str:
    try:
        digest = ledger.digest(Path(clip.mask))
    except OSError as error:
        raise LTX2Error(f"{Path(clip.mask).name} cannot be read any more ({error.strerror}); check the file and cache again.") from error
    return content_key(kind="mask", source=digest, **mask_facts(clip, mask_type))


def _unmasked(clip: Clip, why: str) -> str:
    return f"{Path(clip.path).name} is trained without its mask: {why}"


def cache_masks(clips: Sequence[Clip], mask_type: str, store: Store, *, reporter: Reporter, stop: StopSignal, world: World) -> tuple[dict[int, str], list[str]]:
    """Make what ``store``, which has a ledger, lacks of the masks of ``clips``, each process of ``world`` its share.

    Returns:
        Position of a clip -> its mask's key, for all whose mask could be read; and a sentence for each other one.

    Raises:
        Interrupted: a person asked to stop; every finished mask is kept.
    """
    if not any(clip.mask for clip in clips):
        return {}, []
    keys, messages = told(world, lambda: _keys(clips, mask_type, store.ledger))
    first = {key: clips[i] for i, key in keys.items()}
    missing = told(world, lambda: {key: clip for key, clip in first.items() if not store.sound(MASKS, key)})
    failed: dict[str, str] = {}
    with agreed(world):
        failed = _make(share(missing, world), mask_type, store, reporter, stop)
    failed = {key: why for part in world.gather(failed) for key, why in part.items()}
    messages += [_unmasked(first[key], why) for key, why in failed.items()]
    for message in messages:
        reporter.message(message, "warning")
    return {i: key for i, key in keys.items() if key not in failed}, messages


def _keys(clips: Sequence[Clip], mask_type: str, ledger: Ledger) -> tuple[dict[int, str], list[str]]:
    keys, messages = {}, []
    for i, clip in enumerate(clips):
        if not clip.mask:
            continue
        try:
            keys[i] = _key(clip, mask_type, ledger)
        except LTX2Error as error:
            messages.append(_unmasked(clip, str(error)))
    return keys, messages


def _make(missing: Mapping[str, Clip], mask_type: str, store: Store, reporter: Reporter, stop: StopSignal) -> dict[str, str]:
    """Key -> why it could not be made."""
    failed: dict[str, str] = {}

    def keep(key: str, clip: Clip, mask: Tensor) -> None:
        if _key(clip, mask_type, store.ledger) != key:
            raise LTX2Error(f"{Path(clip.mask).name} changed while it was cached; cache again when it is complete.")
        store.write(MASKS, key, {"mask": mask}, {"source": Path(clip.mask).name, "start": clip.start, "frame_rate": clip.frame_rate})
        if not mask.any():
            reporter.message(f"The mask {Path(clip.mask).name} is black all over, so the picture of {Path(clip.path).name} is not trained.", "warning")

    with closing(read_ahead(missing.items(), lambda item: read_mask(item[1], mask_type == "binary"))) as coming:
        for done, ((key, clip), mask) in enumerate(coming, 1):
            if stop.requested():
                raise Interrupted(f"Caching stopped after {done - 1} of {len(missing)} masks; queue again and it goes on from there.")
            try:
                keep(key, clip, mask.result())
            except LTX2Error as error:
                failed[key] = str(error)
            reporter.progress(Progress("masks", done, len(missing), Path(clip.path).name))
    return failed
