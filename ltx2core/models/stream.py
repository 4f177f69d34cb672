"""The video VAE's layers as stages of a stream: each takes some frames, remembers what it still needs, hands on the rest.

No stage sees an edge in time that the clip does not have, so the numbers are those of the whole clip. A stage that looks
ahead answers later: it hands on less at first and the rest at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from .conv_pieces import convolve

# (x [B, C, T, H, W], is it the last) -> what can be handed on now, None when nothing can.
Stage = Callable[[Tensor, bool], Tensor | None]
# Frames with whether they are the clip's last.
Chunks = Iterable[tuple[Tensor, bool]]


class Queue:
    """Frames that wait for their turn."""

    def __init__(self) -> None:
        self._frames: Tensor | None = None

    def put(self, x: Tensor) -> None:
        self._frames = x if self._frames is None else torch.cat([self._frames, x], dim=2)

    def __len__(self) -> int:
        return 0 if self._frames is None else self._frames.shape[2]

    def take(self, count: int) -> Tensor:
        taken, rest = self._frames[:, :, :count], self._frames[:, :, count:]
        self._frames = rest.clone() if rest.shape[2] else None  # a view would keep all of it
        return taken


class Conv:
    """A convolution in time: causal repeats the first frame before the clip; otherwise both ends are repeated."""

    def __init__(self, layer: nn.Module, causal: bool, piece_bytes: int | None) -> None:
        self.conv, self.kernel, self.piece_bytes = layer.conv, layer.kernel_size[0], piece_bytes
        self.after = 0 if causal else (self.kernel - 1) // 2
        self.held: Tensor | None = None

    def __call__(self, x: Tensor, last: bool) -> Tensor | None:
        if self.held is None:
            self.held = x[:, :, :1].expand(-1, -1, self.kernel - 1 - self.after, -1, -1)
        parts = [self.held, x]
        if last:
            parts.append(x[:, :, -1:].expand(-1, -1, self.after, -1, -1))
        frames = sum(part.shape[2] for part in parts)
        out = convolve(self.conv, tuple(parts), self.piece_bytes) if frames >= self.kernel else None
        keep = self.kernel - 1
        self.held = torch.cat([self.held[:, :, max(self.held.shape[2] + x.shape[2] - keep, 0) :], x[:, :, -keep:]], dim=2) if keep else self.held
        return out


class Resnet:
    """Two convolutions and what goes round them."""

    def __init__(self, block: nn.Module, causal: bool, piece_bytes: int | None) -> None:
        self.block, self.queue = block, Queue()
        self.first, self.second = Conv(block.conv1, causal, piece_bytes), Conv(block.conv2, causal, piece_bytes)

    def __call__(self, x: Tensor, last: bool) -> Tensor | None:
        block = self.block
        self.queue.put(x)
        hidden = self.first(block.nonlinearity(block.norm1(x)), last)
        if hidden is not None:
            hidden = self.second(block.nonlinearity(block.norm2(hidden)), last)
        if hidden is None:
            return None
        skip = self.queue.take(hidden.shape[2])
        if block.norm3 is not None:
            skip = block.norm3(skip.movedim(1, -1)).movedim(-1, 1)
        if block.conv_shortcut is not None:
            skip = block.conv_shortcut(skip)
        return hidden + skip


def fold(x: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """Blocks of ``stride`` cells into channels: [B, C, T, H, W] -> [B, C * t * h * w, T/t, H/h, W/w], channel slowest."""
    batch, channels, frames, height, width = x.shape
    t, h, w = stride
    cells = x.reshape(batch, channels, frames // t, t, height // h, h, width // w, w)
    return cells.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, channels * t * h * w, frames // t, height // h, width // w)


def unfold(x: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """The inverse of :func:`fold`."""
    batch, channels, frames, height, width = x.shape
    t, h, w = stride
    cells = x.reshape(batch, channels // (t * h * w), t, h, w, frames, height, width)
    return cells.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(batch, -1, frames * t, height * h, width * w)


class Downsampler:
    """Folds blocks of cells into channels, with their means beside; waits until a block is full."""

    def __init__(self, layer: nn.Module, causal: bool, piece_bytes: int | None) -> None:
        self.layer, self.conv = layer, Conv(layer.conv, causal, piece_bytes)
        self.started, self.inputs, self.outputs = False, Queue(), Queue()

    def __call__(self, x: Tensor, last: bool) -> Tensor | None:
        stride = self.layer.stride
        if not self.started:
            # Only the clip's first frame stands alone; it is repeated to fill its block.
            x, self.started = torch.cat([x[:, :, : stride[0] - 1], x], dim=2), True
        self.inputs.put(x)
        out = self.conv(x, last)
        if out is not None:
            self.outputs.put(out)
        full = len(self.outputs) // stride[0] * stride[0]
        if not full:
            return None
        means = fold(self.inputs.take(full), stride).unflatten(1, (-1, self.layer.group_size)).mean(dim=2)
        return fold(self.outputs.take(full), stride) + means


class Upsampler:
    """Unfolds channels into blocks of cells; the clip's first frame becomes one."""

    def __init__(self, layer: nn.Module, causal: bool, piece_bytes: int | None) -> None:
        self.layer, self.conv = layer, Conv(layer.conv, causal, piece_bytes)
        self.started, self.inputs = False, Queue()

    def __call__(self, x: Tensor, last: bool) -> Tensor | None:
        stride = self.layer.stride
        self.inputs.put(x)
        out = self.conv(x, last)
        if out is None:
            return None
        skip, out = self.inputs.take(out.shape[2]), unfold(out, stride)
        if self.layer.residual:
            skip = unfold(skip, stride)
            out = out + skip.repeat(1, out.shape[1] // skip.shape[1], 1, 1, 1)
        if not self.started:
            out, self.started = out[:, :, stride[0] - 1 :], True
        return out


def pointwise(function: Callable[[Tensor], Tensor]) -> Stage:
    """A stage of a function that looks at one frame at a time."""
    return lambda x, last: function(x)


def _through(stage: Stage, chunks: Chunks, limit: int) -> Iterator[tuple[Tensor, bool]]:
    # While the later stages work, every name here would keep its frames alive; so each is let go before handing on.
    for chunk, last in chunks:
        out = stage(chunk, last)
        del chunk
        if out is None:
            continue
        # What waited in the stage comes all at once at the end; later stages still get no more than ``limit``.
        pieces = list(out.split(limit, dim=2))[::-1]
        del out
        while pieces:
            yield pieces.pop(), last and not pieces


def flow(stages: Iterable[tuple[Stage, int]], source: Tensor, limit: int) -> Iterator[Tensor]:
    """``source`` [B, C, T, H, W] through the stages, ``limit`` frames at a time.

    Args:
        stages: each with the largest number of frames that it hands on at once.
    """
    chunks: Chunks = _through(lambda x, last: x, [(source, True)], limit)
    for stage, most in stages:
        chunks = _through(stage, chunks, most)
    for piece, _ in chunks:
        yield piece
        del piece
