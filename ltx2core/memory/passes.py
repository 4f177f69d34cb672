"""A forward pass of sampling as one CUDA graph: a step is then as fast as the card, however slow the processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..fused.runner import FusedRunner
from ..models.forward import BlockRunner, Modality, denoise
from .streams import can_capture, stream_of

Forward = Callable[..., tuple[Tensor, Tensor]]  # called as ``models.forward.denoise``


def _tensors(modality: Modality) -> dict[str, Tensor]:
    return {name: value for name, value in vars(modality).items() if value is not None}


def _signature(modality: Modality) -> tuple:
    return tuple((name, value.shape, value.dtype) for name, value in _tensors(modality).items())


class _Pass:
    """One captured pass, with inputs and results of its own."""

    def __init__(self, forward: Callable[[Modality, Modality], tuple[Tensor, Tensor]], streams: tuple[Modality, Modality], device: torch.device, pool):
        # Contiguous: what is given may be one sample's, spread over the batch.
        self._inputs = tuple(Modality(**{n: t.clone(memory_format=torch.contiguous_format) for n, t in _tensors(m).items()}) for m in streams)
        self._graph, side = torch.cuda.CUDAGraph(), stream_of(device, "capture")
        torch.cuda.empty_cache()  # what passes before took is taken again from the pool
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.graph(self._graph, pool=pool, stream=side, capture_error_mode="thread_local"):
            self._found = forward(*self._inputs)

    def replay(self, streams: tuple[Modality, Modality]) -> tuple[Tensor, Tensor]:
        for own, given in zip(self._inputs, streams, strict=True):
            for name, tensor in _tensors(own).items():
                tensor.copy_(vars(given)[name])
        self._graph.replay()
        video, audio = self._found
        return video.clone(), audio.clone()


class CapturedPasses:
    """``denoise`` with ``runner``: the first pass of a size is launched kernel by kernel, the following ones are replayed.

    Passes with another runner, such as those that skip an attention, are always launched. The model must stay as it is.
    """

    def __init__(self, runner: BlockRunner, device: torch.device):
        self._runner, self._device = runner, device
        self._passes: dict[tuple, _Pass | None] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, model: nn.Module, video: Modality, audio: Modality, *, av_cross_timestep: str, runner: BlockRunner) -> tuple[Tensor, Tensor]:
        def forward(v: Modality, a: Modality) -> tuple[Tensor, Tensor]:
            return denoise(model, v, a, av_cross_timestep=av_cross_timestep, runner=runner)

        if runner is not self._runner:
            return forward(video, audio)
        key = (id(model), av_cross_timestep, _signature(video), _signature(audio))
        if key not in self._passes:
            self._passes[key] = None  # kernels are compiled and chosen in the first
            return forward(video, audio)
        if self._passes[key] is None:
            self._passes[key] = _Pass(forward, (video, audio), self._device, self._pool)
        return self._passes[key].replay((video, audio))

    def close(self) -> None:
        self._passes.clear()


@contextmanager
def forward_passes(run: BlockRunner, device: torch.device) -> Iterator[Forward]:
    """What ``Denoiser`` predicts with while the ``with`` block runs, given what ``sampling_runner`` gave."""
    if not (isinstance(run, FusedRunner) and can_capture(device)):
        yield denoise
        return
    passes = CapturedPasses(run, device)
    try:
        yield passes
    finally:
        passes.close()
