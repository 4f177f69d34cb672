"""A forward pass of sampling as one CUDA graph: what it takes is the card's time alone, not that of launching its kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..fused.runner import FusedRunner
from ..models.forward import BlockRunner, Forward, Modality, denoise
from ..sample.guidance import Guidance
from .streams import can_capture, stream_of

_Streams = tuple[Modality, Modality]
_OfStreams = Callable[[Modality, Modality], tuple[Tensor, Tensor]]


def _tensors(modality: Modality) -> dict[str, Tensor]:
    return {name: value for name, value in vars(modality).items() if value is not None}


def _signature(modality: Modality) -> tuple:
    return tuple((name, value.shape, value.dtype) for name, value in _tensors(modality).items())


def _copied(found: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    video, audio = found
    return video.clone(), audio.clone()


class _Pass:
    """One captured pass, with inputs and results of its own."""

    def __init__(self, forward: _OfStreams, streams: _Streams, side: torch.cuda.Stream, pool):
        # Contiguous: what is given may be one sample's, spread over the batch.
        self._inputs = tuple(Modality(**{n: t.clone(memory_format=torch.contiguous_format) for n, t in _tensors(m).items()}) for m in streams)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, stream=side, capture_error_mode="thread_local"):
            self._found = forward(*self._inputs)

    def replay(self, streams: _Streams) -> tuple[Tensor, Tensor]:
        for own, given in zip(self._inputs, streams, strict=True):
            for name, tensor in _tensors(own).items():
                tensor.copy_(vars(given)[name])
        self._graph.replay()
        return _copied(self._found)


class CapturedPasses:
    """``denoise`` with ``runner``: the first pass of a size is launched kernel by kernel, the following ones are replayed.

    The model must stay as it is until ``close``.
    """

    def __init__(self, runner: BlockRunner, device: torch.device):
        self._runner, self._side, self._pool = runner, stream_of(device, "capture"), torch.cuda.graph_pool_handle()
        self._passes: dict[tuple, _Pass | None] = {}
        self._capture = True

    def __call__(self, model: nn.Module, video: Modality, audio: Modality, *, av_cross_timestep: str, runner: BlockRunner) -> tuple[Tensor, Tensor]:
        def forward(v: Modality, a: Modality) -> tuple[Tensor, Tensor]:
            return denoise(model, v, a, av_cross_timestep=av_cross_timestep, runner=runner)

        if runner is not self._runner or not self._capture:
            return forward(video, audio)
        key = (id(model), av_cross_timestep, _signature(video), _signature(audio))
        if key not in self._passes:
            self._passes[key] = None
            return self._first(forward, (video, audio))
        if self._passes[key] is None and not self._captured(key, forward, (video, audio)):
            return forward(video, audio)
        return self._passes[key].replay((video, audio))

    def _first(self, forward: _OfStreams, streams: _Streams) -> tuple[Tensor, Tensor]:
        """Compiles and chooses kernels. On the stream that captures, whose work space is then there: a graph's pool that held it
        would never be given back.
        """
        current = torch.cuda.current_stream()
        self._side.wait_stream(current)
        with torch.cuda.stream(self._side):
            found = forward(*streams)
        current.wait_stream(self._side)
        return _copied(found)

    def _captured(self, key: tuple, forward: _OfStreams, streams: _Streams) -> bool:
        """False where it cannot be, for want of memory or by a driver's error: what follows is launched then."""
        with torch.cuda.stream(torch.cuda.current_stream()):  # ends as the current one, whatever a capture that failed left
            try:
                self._passes[key] = _Pass(forward, streams, self._side, self._pool)
            except RuntimeError:
                self._capture = False
        return self._capture

    def close(self) -> None:
        self._passes.clear()


@contextmanager
def forward_passes(run: BlockRunner, device: torch.device, guidance: Sequence[Guidance] = ()) -> Iterator[Forward]:
    """What ``Denoiser`` predicts with while the ``with`` block runs, given what ``sampling_runner`` gave.

    With a ``guidance`` that also runs blocks in another way all passes are launched: beside a graph's memory theirs would be
    needed.
    """
    if not (isinstance(run, FusedRunner) and can_capture(device)) or any(g.needs_perturbed or g.needs_isolated for g in guidance):
        yield denoise
        return
    passes = CapturedPasses(run, device)
    try:
        yield passes
    finally:
        passes.close()
