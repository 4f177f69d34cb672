"""Reads and prepares the next batches on a thread of its own, while the device works on this one."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType

import torch

from .batch import StepInputs, prepare
from .data import RunData
from .sampler import BucketSampler
from .settings import TrainSettings
from .timesteps import offset_of

AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """``sampler`` is the sampler's state after this batch was drawn: what a checkpoint behind it must hold.

    has_video, has_audio: whether any sample has a loss of that stream. regular: [B] bool, clips of regularisation.
    """

    inputs: StepInputs
    sampler: dict[str, int]
    has_video: bool
    has_audio: bool
    regular: torch.Tensor


class Feed:
    """Batches from number ``first`` on, in the sampler's order, in page-locked memory for a CUDA device."""

    def __init__(self, data: RunData, sampler: BucketSampler, settings: TrainSettings, dtype: torch.dtype, first: int, pin: bool):
        cache = data.training
        self._cache, self._sampler, self._settings, self._dtype, self._pin = cache, sampler, settings, dtype, pin
        self._step, self._references, self._learnt = first, data.references, len(data.cache)
        self._teacher = data.teacher
        self._empty = cache.text(cache.empty_text) if settings.caption_dropout > 0 else None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ltx2-feed")
        self._ahead: deque[Future[Batch]] = deque()

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _make(self, positions: tuple[int, ...], step: int, state: dict[str, int]) -> Batch:
        samples = [self._cache[i] for i in positions]
        offsets = [offset_of(self._settings.timesteps, self._cache.clips[i].source) for i in positions]
        references = None if self._references is None else [self._references.latents(self._cache.clips[i]) for i in positions]
        inputs = prepare(samples, step, self._settings, self._dtype, self._empty, references, offsets)
        if self._teacher is not None:
            features = torch.stack([self._teacher.read(self._cache.clips[i]) for i in positions])
            inputs = replace(inputs, teacher=features, teacher_weight=torch.zeros(()))
        losses = (bool(stream.mask.any()) for stream in (inputs.video, inputs.audio))
        regular = torch.tensor([i >= self._learnt for i in positions])
        return Batch(inputs.pin() if self._pin else inputs, state, *losses, regular)

    def next(self) -> Batch:
        while len(self._ahead) <= AHEAD:
            positions = self._sampler.next()
            self._ahead.append(self._pool.submit(self._make, positions, self._step, self._sampler.state_dict()))
            self._step += 1
        return self._ahead.popleft().result()
