"""A cached dataset: a short record a clip in memory, the tensors on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from ..errors import LTX2Error
from ..files import write_json
from ..media.audio import Waveform, decode_audio, fit_length
from .digests import Ledger
from .store import Store

MANIFEST_VERSION = 3  # 1 held every caption too, which the text entries hold; 2 knew no masks
MANIFESTS = "manifests"
MASKS = "masks"  # kind of entry
_HEARD_RATE = 48000


@dataclass(frozen=True, slots=True)
class CachedClip:
    """Where one clip's tensors lie, and what is needed to put it in a batch; the only thing that memory holds of every clip.

    source: the file's name; path: where it lay, with forward slashes, and dataset: the name of its dataset, both "" in caches of before.
    repeats: further times that it comes in an epoch. batch_size: of the batches it comes in, 0 is the run's.
    mask: its entry, "" for none.
    """

    source: str
    latents: str
    text: str
    width: int
    height: int
    frames: int
    frame_rate: float
    has_audio: bool
    repeats: int = 0
    has_video: bool = True
    path: str = ""
    dataset: str = ""
    batch_size: int = 0
    mask: str = ""

    @property
    def bucket(self) -> str:
        """Clips of one bucket have tensors of one shape and one rate: "768x512@49" at 25 frames a second."""
        return f"{self.width}x{self.height}@{self.frames}/{self.frame_rate:g}"


@dataclass(frozen=True)
class Sample:
    """One clip's tensors, bfloat16.

    video_latents [128, F', H', W'], of a sound trained alone zeros [128, F', 1, 1]; audio_latents [8, T, 16] or None for a clip without sound;
    text_video and text_audio [1024, D], after the connectors. mask: float32 [F', H', W'], how much each cell counts in the loss, 0..1; None for all alike.
    """

    key: str
    video_latents: Tensor
    audio_latents: Tensor | None
    text_video: Tensor
    text_audio: Tensor
    frame_rate: float
    bucket: str
    mask: Tensor | None = None


@dataclass(frozen=True)
class DatasetCache:
    """What training reads. ``empty_text`` is the empty prompt's entry, for caption dropout and guidance."""

    root: Path
    family: str
    clips: tuple[CachedClip, ...]
    empty_text: str
    messages: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.clips)

    @cached_property
    def buckets(self) -> dict[str, list[int]]:
        """Bucket -> positions of its clips, in order."""
        groups: dict[str, list[int]] = {}
        for i, clip in enumerate(self.clips):
            groups.setdefault(clip.bucket, []).append(i)
        return groups

    def parts(self, counts: Sequence[int]) -> list[float]:
        """What part of an epoch's samples each run of ``counts`` clips gives, in order; they sum to 1."""
        often, at, sums = [clip.repeats + 1 for clip in self.clips], 0, []
        for count in counts:
            sums.append(sum(often[at : at + count]))
            at += count
        return [s / sum(sums) for s in sums]

    @property
    def has_audio(self) -> bool:
        return any(c.has_audio for c in self.clips)

    def text(self, key: str) -> tuple[Tensor, Tensor]:
        tensors, _ = Store(self.root).read("text", key)
        return tensors["video"], tensors["audio"]

    def caption(self, index: int) -> str:
        """The caption of one clip, as its text entry keeps it; nothing else of the entry is read."""
        return Store(self.root).info("text", self.clips[index].text).get("prompt", "")

    def sound(self, index: int) -> Waveform | None:
        """The sound of one clip as its file has it, as long as the clip; None for a clip without, and where that file is gone or another."""
        clip = self.clips[index]
        info = Store(self.root).info("latents", clip.latents)
        path = Path(info.get("sound", ""))
        if not path.is_file():
            return None
        try:
            with Ledger(self.root) as ledger:
                if ledger.digest(path) != info["sound_digest"]:
                    return None
            found = decode_audio(path, rate=_HEARD_RATE, start=info["start"], duration=clip.frames / clip.frame_rate)
        except (OSError, LTX2Error):
            return None
        return None if found is None else fit_length(found, clip.frames / clip.frame_rate)

    def __getitem__(self, index: int) -> Sample:
        clip = self.clips[index]
        tensors, _ = Store(self.root).read("latents", clip.latents)
        text_video, text_audio = self.text(clip.text)
        mask = Store(self.root).read(MASKS, clip.mask)[0]["mask"] if clip.mask else None
        return Sample(clip.latents, tensors["video"], tensors.get("audio"), text_video, text_audio, clip.frame_rate, clip.bucket, mask)

    @cached_property
    def digest(self) -> str:
        """Content hash of the set: equal for equal clips, captions and settings wherever the cache lies."""
        facts = [self.family, self.empty_text, [[c.latents, c.text, c.repeats, *((c.batch_size,) if c.batch_size else ()), *((c.mask,) if c.mask else ())] for c in self.clips]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def save(self) -> Path:
        path = self.root / MANIFESTS / f"{self.digest}.json"
        write_json(path, {"version": MANIFEST_VERSION, "family": self.family, "empty_text": self.empty_text, "messages": self.messages, "clips": [asdict(c) for c in self.clips]})
        return path

    @classmethod
    def load(cls, manifest: Path) -> DatasetCache:
        """Open a manifest that ``save`` wrote; its folder's parent is the cache."""
        try:
            raw = json.loads(manifest.read_text(encoding="utf-8"))
            if raw["version"] > MANIFEST_VERSION:
                raise LTX2Error(f"The cache manifest {manifest} was written by a newer version of this pack; update it, or cache the dataset again.")
            clips = tuple(CachedClip(**{k: v for k, v in c.items() if k != "caption"}) for c in raw["clips"])
            return cls(manifest.parent.parent, raw["family"], clips, raw["empty_text"], tuple(raw["messages"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LTX2Error(f"The cache manifest {manifest} cannot be read ({error}); cache the dataset again.") from error
