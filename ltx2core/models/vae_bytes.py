"""How much device memory the video VAE needs beside its weights, predicted from sizes and settings.

The numbers were fitted to ``benchmarks/vae_memory.json`` (real layout, one H200, torch 2.11) and rounded up; a test holds
every measured row against the prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .vae_memory import PLAIN, VaeMemory

# cuDNN's workspaces for even the smallest clip.
_BASE = 256 * 2**20
# The frames whose activations a streamed clip holds: eight on their way, and each layer's memory.
_ROLL_FRAMES = 23
# Decoded frames that become bytes together.
FRAMES_AT_ONCE = 8
# Elements a pixel where every convolution's padded copy is cut (patch_conv), and the pieces that lie about meanwhile.
_PATCHED_ELEMENTS, _PATCHED_PIECES = 32, 5


@dataclass(frozen=True)
class _Rates:
    """Bytes a pixel of what is worked on at once; bfloat16 needs more elements, for the layout that its kernels want."""

    half: int
    full: int

    def of(self, dtype: torch.dtype) -> int:
        return self.half if dtype.itemsize <= 2 else self.full


_ENCODE, _DECODE = _Rates(122, 180), _Rates(126, 190)


def _working(rates: _Rates, clips: int, frames: int, height: int, width: int, dtype: torch.dtype, memory: VaeMemory) -> int:
    side = memory.tiling.size if memory.tiling is not None else max(height, width)
    pixels = min(clips, memory.clips_at_once) * min(height, side) * min(width, side) * (min(frames, _ROLL_FRAMES) if memory.temporal_roll else frames)
    whole = pixels * rates.of(dtype)
    if memory.patch_conv:
        whole = min(whole, pixels * _PATCHED_ELEMENTS * dtype.itemsize + _PATCHED_PIECES * memory.piece_bytes)
    return _BASE + whole


def encode_working_bytes(frames: int, height: int, width: int, dtype: torch.dtype = torch.bfloat16, memory: VaeMemory = PLAIN, clips: int = 1) -> int:
    """Encoding [clips, 3, frames, height, width]; the pixels themselves are not counted."""
    return _working(_ENCODE, clips, frames, height, width, dtype, memory)


def frames_working_bytes(frames: int, height: int, width: int, dtype: torch.dtype = torch.bfloat16, memory: VaeMemory = PLAIN) -> int:
    """Decoding one clip to bytes on the CPU (``video.decode_frames``): the pixels leave the device as they come.

    Beside the work lie the frames that are becoming bytes, as the decoder gives them and three times in float32; tiles
    become bytes on the CPU.
    """
    work = _working(_DECODE, 1, frames, height, width, dtype, memory)
    if memory.tiling is not None and max(height, width) > memory.tiling.size:
        return work
    return work + min(frames, FRAMES_AT_ONCE) * height * width * 3 * (dtype.itemsize + 3 * torch.float32.itemsize)


def decode_working_bytes(frames: int, height: int, width: int, dtype: torch.dtype = torch.bfloat16, memory: VaeMemory = PLAIN, clips: int = 1) -> int:
    """Decoding to [clips, 3, frames, height, width], the decoded pixels counted."""
    work = _working(_DECODE, clips, frames, height, width, dtype, memory)
    if memory.temporal_roll or memory.tiling is not None:
        # The pixels lie beside the work, and tiles are summed in float32; otherwise the work's own memory is free by then.
        tiled = memory.tiling is not None and max(height, width) > memory.tiling.size
        pixel = 3 * (torch.float32.itemsize if tiled else dtype.itemsize)
        work += clips * frames * height * width * pixel
        if tiled:
            work += frames * min(height, memory.tiling.size) * min(width, memory.tiling.size) * 3 * (4 + dtype.itemsize)
    return work
