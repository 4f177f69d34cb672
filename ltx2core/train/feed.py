"""Reads and prepares the next batches on threads of its own, while the device works on this one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType

import torch

from ..distributed.split import passes
from ..distributed.world import ALONE, World
from .batch import StepInputs, prepare
from .data import RunData
from .sampler import BucketSampler
from .settings import TrainSettings
from .timesteps import offset_of

AHEAD = 2
# Reading a clip of the 19B takes 15 MiB and their checksum; two at once keep ahead of the fastest card.
READERS = 2


@dataclass(frozen=True)
class Part:
    """What one pass computes: clips at ``positions`` of the cache, at places ``slots`` of batch ``number``.

    parts: passes of the optimizer step. sampler: its state behind the batch. prior: any process has a clip of regularisation
    in this pass. real: False where a process has nothing left to do and runs along on a clip that does not count.
    """

    positions: tuple[int, ...]
    slots: tuple[int, ...]
    number: int
    parts: int
    sampler: dict[str, int]
    prior: bool
    real: bool = True


@dataclass(frozen=True)
class Batch:
    """``sampler`` is the sampler's state after this batch was drawn: what a checkpoint behind it must hold.

    has_video, has_audio: whether any sample has a loss of that stream. regular: [B] bool, clips of regularisation. prior:
    whether any process has one in this pass, so that all make the base's prediction: sharded weights need all of them.
    number, slots: which random numbers it has. parts: passes of its optimizer step. real: clips that count.
    """

    inputs: StepInputs
    sampler: dict[str, int]
    has_video: bool
    has_audio: bool
    regular: torch.Tensor
    prior: bool
    number: int
    slots: tuple[int, ...]
    parts: int
    real: int


class Feed:
    """Batches of optimizer step ``first`` and those behind it, in the sampler's order, in page-locked memory for a CUDA device.

    With a global batch the sampler draws a whole step's clips, and these are the passes of this process.
    """

    def __init__(self, data: RunData, sampler: BucketSampler, settings: TrainSettings, dtype: torch.dtype, first: int, pin: bool, world: World = ALONE):
        cache = data.training
        self._cache, self._sampler, self._settings, self._dtype, self._pin = cache, sampler, settings, dtype, pin
        self._number, self._references, self._learnt = first * settings.accumulation, data.references, len(data.cache)
        self._teacher, self._world = data.teacher, world
        self._empty = cache.text(cache.empty_text) if settings.caption_dropout > 0 else None
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="ltx2-feed")
        self._ahead: deque[Future[Batch]] = deque()
        self.waited = 0.0  # seconds that ``next`` waited for batches so far

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _make(self, part: Part) -> Batch:
        samples = [self._cache[i] for i in part.positions]
        clips = [self._cache.clips[i] for i in part.positions]
        offsets = [offset_of(self._settings.timesteps, clip.path or clip.source, clip.dataset) for clip in clips]
        references = None if self._references is None else [self._references.latents(clip) for clip in clips]
        inputs = prepare(samples, part.number, self._settings, self._dtype, self._empty, references, offsets, part.slots)
        if self._teacher is not None:
            inputs = replace(inputs, teacher=torch.stack([self._teacher.read(clip) for clip in clips]), teacher_weight=torch.zeros(len(clips)))
        if not part.real:
            video, audio = (replace(s, mask=torch.zeros_like(s.mask)) for s in (inputs.video, inputs.audio))
            inputs = replace(inputs, video=video, audio=audio)
        losses = (bool(stream.mask.any()) for stream in (inputs.video, inputs.audio))
        regular = torch.tensor([i >= self._learnt for i in part.positions])
        real = len(part.slots) if part.real else 0
        return Batch(inputs.pin() if self._pin else inputs, part.sampler, *losses, regular, part.prior, part.number, part.slots, part.parts, real)

    def _plan(self) -> list[Part]:
        """The passes of what the sampler draws next."""
        drawn, number = self._sampler.next(), self._number
        state, size = self._sampler.state_dict(), self._settings.batch_size
        self._number += 1
        regular = [i >= self._learnt for i in drawn]
        if not self._settings.global_batch:
            return [Part(drawn, tuple(range(len(drawn))), number, self._settings.accumulation, state, any(regular))]
        dealt = [passes(len(drawn), size, rank, self._world.size) for rank in range(self._world.size)]
        mine = dealt[self._world.rank]
        prior = [any(regular[i] for row in dealt for i in row[p]) for p in range(len(mine))]
        return [
            Part(tuple(drawn[i] for i in slots or (0,)), slots or (0,), number, len(mine), state, together, bool(slots))
            for slots, together in zip(mine, prior, strict=True)
        ]  # fmt: skip

    def next(self) -> Batch:
        while len(self._ahead) <= AHEAD:
            self._ahead.extend(self._pool.submit(self._make, part) for part in self._plan())
        begin = time.monotonic()
        batch = self._ahead.popleft().result()
        self.waited += time.monotonic() - begin
        return batch

    def step(self) -> Iterator[Batch]:
        """The batches of the next optimizer step, each made while the one before is computed."""
        batch = self.next()
        yield batch
        for _ in range(batch.parts - 1):
            yield self.next()
