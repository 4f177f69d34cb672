"""The latent upscaler: twice the height and width of video latents, as a file of its own beside the checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..checkpoint.header import CheckpointError, Header, read_header
from ..checkpoint.keymap import KeyMap
from ..checkpoint.reader import fill_module
from .video import denormalise, normalise

_MARK = "post_upsample_res_blocks.0.conv2.bias"
_FACTOR = 2.0
# The file's keys are the module's own.
_KEYS = KeyMap(prefixes=(("", ""),))
_HELP = "choose the spatial x2 upscaler of LTX-2 19B (ltx-2-spatial-upscaler-x2-1.0.safetensors)"


@dataclass(frozen=True)
class Upsampler:
    """What the wire LTX2_UPSCALER carries: the file, its weights read when they are needed.

    arguments: of diffusers' ``LTX2LatentUpsamplerModel``.
    """

    header: Header
    arguments: dict[str, object]

    def load(self, dtype: torch.dtype) -> nn.Module:
        """On the CPU, frozen, in eval mode.

        Raises:
            CheckpointError: a key missing, unexpected or of the wrong shape.
        """
        return fill_module(_skeleton(self.arguments), self.header, _KEYS, "upscaler", torch.device("cpu"), dtype)


def _skeleton(arguments: dict[str, object]) -> nn.Module:
    from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel

    with torch.device("meta"):
        return LTX2LatentUpsamplerModel(**arguments)


def _arguments(header: Header) -> dict[str, object]:
    """By the header's config; what it leaves out has the defaults of the official builder."""
    config = header.config
    return {
        "in_channels": int(config.get("in_channels", 128)),
        "mid_channels": int(config.get("mid_channels", 512)),
        "num_blocks_per_stage": int(config.get("num_blocks_per_stage", 4)),
        "dims": int(config.get("dims", 3)),
        "spatial_upsample": bool(config.get("spatial_upsample", True)),
        "temporal_upsample": bool(config.get("temporal_upsample", False)),
        "rational_spatial_scale": float(config.get("spatial_scale", _FACTOR)),
        "use_rational_resampler": bool(config.get("rational_resampler", False)),
    }


def open_upsampler(path: str | os.PathLike) -> Upsampler:
    """Reads the header only.

    Raises:
        CheckpointError: not a latent upscaler, or one in time or of another factor than 2.
    """
    header = read_header(path)
    if _MARK not in header.tensors:
        raise CheckpointError(f"{header.path.name} is no latent upscaler; {_HELP}.")
    arguments = _arguments(header)
    if arguments["temporal_upsample"] or not arguments["spatial_upsample"]:
        raise CheckpointError(f"{header.path.name} is an upscaler in time; {_HELP}.")
    if arguments["rational_spatial_scale"] != _FACTOR:
        raise CheckpointError(f"{header.path.name} scales by {arguments['rational_spatial_scale']:g}; {_HELP}.")
    return Upsampler(header, arguments)


def upsample(upsampler: nn.Module, vae: nn.Module, latents: Tensor) -> Tensor:
    """Normalised latents [B, 128, F', H', W'] -> [B, 128, F', 2H', 2W'] in float32, normalised again.

    The upscaler works on the VAE's own scale; ``vae`` gives the statistics of each channel.
    """
    dtype = next(upsampler.parameters()).dtype
    return normalise(vae, upsampler(denormalise(vae, latents.float()).to(dtype)).float())


def upsample_working_bytes(frames: int, height: int, width: int, upsampler: Upsampler, dtype: torch.dtype) -> int:
    """Bytes beside the weights for latents of ``frames`` x ``height`` x ``width`` cells before scaling.

    Largest at the convolution before the shuffle: 4 times the middle channels at the small size, and its input and
    shuffled copy beside it.
    """
    return 12 * int(upsampler.arguments["mid_channels"]) * frames * height * width * dtype.itemsize
