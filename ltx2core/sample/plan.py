"""What a validation makes: rows of prompts or clips, columns of adapters, seeds; one cell for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ..cache.dataset import CachedClip, DatasetCache
from ..cache.store import Store
from ..checkpoint.adapter import Adapter
from ..checkpoint.adapter_tools import check_strength
from ..errors import LTX2Error
from ..geometry import latent_frames
from ..media.write import CODECS, suffix
from ..models.handle import Models
from ..train.reference import References
from .given import Given
from .loop import Latents
from .prompts import EncodedPrompt, EncodedPrompts
from .published import preset_of, takes_reference
from .recipe import AdapterUse, Recipe, adapter_uses, tensor_digest
from .reference import CachedReference, Reference
from .settings import SampleSettings

T = TypeVar("T")

ORIGINAL, BASE = "original", "base"
DATASET_MODES = ("image to video", "sound to video", "image and sound to video", "text to video")


@dataclass(frozen=True)
class Column:
    """Adapters that act together, beside those that the models already have; none: the base."""

    label: str
    adapters: tuple[tuple[Adapter, float], ...] = ()


@dataclass(frozen=True)
class Original:
    """The clip that a row comes from; key names its content."""

    key: str
    latents: Callable[[], Latents]


@dataclass(frozen=True)
class Row:
    """One line of the comparison. reference: shown to columns with an adapter that takes one (IC-LoRA), to no other."""

    name: str
    prompt: EncodedPrompt
    settings: SampleSettings
    given: Given = Given()
    original: Original | None = None
    reference: Reference | CachedReference | None = None


@dataclass(frozen=True)
class Cell:
    """One file. seed None: the original of its row."""

    row: int
    column: str
    seed: int | None
    recipe: Recipe = field(repr=False)

    @property
    def file(self) -> str:
        """Readable, and another one for every recipe."""
        parts = [slug(self.recipe.label), slug(self.column), *([] if self.seed is None else [f"seed{self.seed}"]), self.recipe.key[:8]]
        return "__".join(parts) + suffix(self.recipe.codec)


@dataclass(frozen=True)
class Plan:
    """Every row with every column and seed. The base comes first, and before it the originals where rows have them.

    tiled: how clips are decoded, as in ``decode``.
    """

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    seeds: tuple[int, ...]
    negative: EncodedPrompt
    codec: str = "h264"
    tiled: bool | None = None

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise LTX2Error(f"The codec {self.codec!r} is not known; choose {' or '.join(CODECS)}.")
        if not self.rows or not self.seeds:
            raise LTX2Error("There is nothing to validate; give at least one prompt and one seed.")
        for adapter, strength in (pair for column in self.columns for pair in column.adapters):
            check_strength(adapter.name, strength)
        labels = [c.label for c in self.columns]
        if twice := next((x for x in labels if labels.count(x) > 1 or x in (BASE, ORIGINAL)), None):
            raise LTX2Error(f"Two columns are called {twice!r}; give each adapter a label of its own.")

    @property
    def all_columns(self) -> tuple[Column, ...]:
        return (Column(BASE), *self.columns)

    @property
    def labels(self) -> tuple[str, ...]:
        originals = (ORIGINAL,) if any(r.original is not None for r in self.rows) else ()
        return (*originals, *(c.label for c in self.all_columns))

    def cells(self, models: Models) -> tuple[Cell, ...]:
        """In the order in which they are made; row by row, so that the first comparison is there soon."""
        shared = {
            "negative": self.negative.text, "negative_key": self.negative.key, "checkpoint": models.checkpoint.path.name,
            "checkpoint_digest": models.checkpoint.fingerprint("transformer"), "codec": self.codec,
        }  # fmt: skip
        uses = {c.label: adapter_uses((*models.adapters, *c.adapters)) for c in self.all_columns}
        referring = {c.label: bool(takes_reference((*models.adapters, *c.adapters))) for c in self.all_columns}
        # Rows of a library share one picture or video, whose digest takes a moment.
        facts = {i: given_facts(given) for i, given in {id(row.given): row.given for row in self.rows}.items()}
        references = {i: _reference_facts(r) for i, r in {id(row.reference): row.reference for row in self.rows}.items()}
        cells = []
        for i, row in enumerate(self.rows):
            given = facts[id(row.given)]
            recipe = Recipe(row.name, row.prompt.text, row.prompt.key, adapters=(), settings={}, given=given, **shared)
            if row.original is not None:
                cells.append(Cell(i, ORIGINAL, None, replace(recipe, given={"original": row.original.key})))
            for seed in self.seeds:
                for label, use in uses.items():
                    settings = {**_with_presets(row.settings, use).to_dict(), "seed": seed, "batch": 1, "seeds": ()}
                    shown = references[id(row.reference)] if referring[label] else {}
                    cells.append(Cell(i, label, seed, replace(recipe, adapters=use, settings=settings, given={**given, **shown})))
        return tuple(cells)


def _with_presets(settings: SampleSettings, uses: Sequence[AdapterUse]) -> SampleSettings:
    """``settings`` as the adapters ask for that were made for others: the distilled one for 8 steps without guidance."""
    for use in uses:
        settings = preset_of(use.name).apply(settings) if use.strength else settings
    return settings


def slug(text: str) -> str:
    """Letters, digits and dashes of ``text`` that every file system takes, at most 40."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:40].rstrip("-.") or "x"


def given_facts(given: Given) -> dict[str, object]:
    """What of ``given`` changes the numbers."""
    facts: dict[str, object] = {"mode": given.mode}
    if given.pictures:
        facts["pictures"] = [[p.frame, p.strength, tensor_digest(p.image)] for p in given.pictures]
    if given.beginning is not None:
        facts["beginning"] = tensor_digest(given.beginning.frames)
    sounds = [s for s in (given.sound, given.beginning.sound if given.beginning else None) if s is not None]
    if sounds:
        facts["sound"] = [tensor_digest(sounds[0].samples), sounds[0].rate, given.sound_fit]
    if given.heard is not None:
        facts["heard"] = [tensor_digest(given.heard.samples), given.heard.rate]
    for name in ("video", "first_latents", "sound_latents"):
        tensor = getattr(given, name)
        if tensor is not None:
            facts[name] = tensor_digest(tensor)
    return facts


def _reference_facts(reference: Reference | CachedReference | None) -> dict[str, object]:
    return {} if reference is None else {"reference": [reference.key, reference.strength]}


def library_rows(
    prompts: EncodedPrompts, settings: SampleSettings, given: Given = Given(), reference: Reference | None = None  # noqa: B008
) -> tuple[Row, ...]:
    """A row a prompt, all of them given the same."""
    return tuple(Row(p.name, p, settings, given, reference=reference) for p in prompts.prompts)


def columns_of(adapters: Sequence[tuple[Adapter, float]], strengths: Sequence[float] = (1.0,)) -> tuple[Column, ...]:
    """A column for every adapter at every one of ``strengths``, each multiplied with the adapter's own."""
    many = len(set(strengths)) > 1
    columns: dict[str, Column] = {}
    for adapter, own in adapters:
        for strength in strengths:
            label = f"{adapter.name} x{own * strength:g}" if many or own * strength != 1 else adapter.name
            label = next(x for x in (label, *(f"{label} ({n})" for n in range(2, 99))) if x not in columns)
            columns[label] = Column(label, ((adapter, own * strength),))
    return tuple(columns.values())


def dataset_rows(
    cache: DatasetCache, clips: int, mode: str, settings: SampleSettings, *, show_original: bool = True, references: DatasetCache | None = None
) -> tuple[Row, ...]:
    """A row for each of the first ``clips`` cached clips, at its own size and rate, with its caption.

    Args:
        mode: one of DATASET_MODES: which of the cached latents are given, the first frame, the sound, both or none.
        references: reference videos of the clips (IC-LoRA), by the same names.

    Raises:
        LTX2Error: an unknown mode, no clip that can be used, or a clip without a reference.
    """
    if mode not in DATASET_MODES:
        raise LTX2Error(f"The dataset mode {mode!r} is not known; choose one of {', '.join(DATASET_MODES)}.")
    image, sound = mode.startswith("image"), "sound" in mode
    usable = [i for i, c in enumerate(cache.clips) if c.has_video and (c.has_audio or not sound)]
    if not usable:
        raise LTX2Error(f"No clip of this dataset has {'sound' if sound else 'a picture'}; choose another dataset or another mode.")
    rows = []
    for i in usable[:clips]:
        clip, sample = cache.clips[i], cache[i]
        given = Given(
            first_latents=sample.video_latents[None, :, :1].float() if image else None,
            sound_latents=sample.audio_latents[None].float() if sound else None,
            heard=cache.sound(i) if sound else None,
        )
        own = replace(settings, width=clip.width, height=clip.height, frames=clip.frames, frame_rate=clip.frame_rate)
        name = re.split(r"[\\/]", clip.source)[-1].rsplit(".", 1)[0]
        prompt = EncodedPrompt(name, cache.caption(i), clip.text, Store(cache.root))
        shown = None if references is None else cached_reference(References(references), clip)
        rows.append(Row(name, prompt, own, given, Original(clip.latents, _reader(cache, i)) if show_original else None, shown))
    return tuple(rows)


def cached_reference(references: References, clip: CachedClip) -> CachedReference:
    """The one that belongs to ``clip``. Raises LTX2Error when there is none."""
    found = references.clip(clip)
    cells = latent_frames(found.frames), found.height // 32, found.width // 32
    return CachedReference(found.latents, cells, lambda: references.latents(clip))


def _reader(cache: DatasetCache, index: int) -> Callable[[], Latents]:
    def read() -> Latents:
        sample = cache[index]
        sound = sample.audio_latents
        audio = sample.video_latents.new_zeros(0) if sound is None else sound
        return Latents(sample.video_latents[None].float(), audio[None].float(), sample.frame_rate)

    return read


def dataset_negative(cache: DatasetCache) -> EncodedPrompt:
    """The empty prompt that was cached with the clips."""
    return EncodedPrompt("negative", "", cache.empty_text, Store(cache.root))


def choose_cache(caches: Mapping[str, T], eval_dataset_id: str) -> T:
    """The dataset (or its spec) called ``eval_dataset_id``, or the only one when that is empty.

    Raises:
        LTX2Error: no such dataset, or several and none chosen.
    """
    if not eval_dataset_id and len(caches) == 1:
        return next(iter(caches.values()))
    if eval_dataset_id not in caches:
        raise LTX2Error(f"eval_dataset_id is {eval_dataset_id!r}; choose one of {', '.join(caches)}.")
    return caches[eval_dataset_id]
