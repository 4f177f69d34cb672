"""The video VAE as a stream: a clip of any length in the memory of some frames, with the numbers of the whole clip."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from .stream import Conv, Downsampler, Resnet, Stage, Upsampler, flow, fold, pointwise, unfold


def _refuse_noise(blocks: list[nn.Module]) -> None:
    for block in blocks:
        if block.per_channel_scale1 is not None or block.scale_shift_table is not None:
            raise LTX2Error("This video VAE has noise or a timestep in its layers, which cannot be streamed; switch the temporal roll off.")


def _encoder_stages(encoder: nn.Module, frames: int, piece_bytes: int | None) -> list[tuple[Stage, int]]:
    causal, patch = encoder.is_causal, (encoder.patch_size_t, encoder.patch_size, encoder.patch_size)
    # A patch's columns come before its rows.
    stages: list[tuple[Stage, int]] = [(pointwise(lambda x: fold(x.transpose(3, 4), patch).transpose(3, 4)), frames)]
    stages.append((Conv(encoder.conv_in, causal, piece_bytes), frames))
    for block in encoder.down_blocks:
        stages += [(Resnet(r, causal, piece_bytes), frames) for r in block.resnets]
        for layer in block.downsamplers or ():
            frames = max(1, frames // layer.stride[0])
            stages.append((Downsampler(layer, causal, piece_bytes), frames))
    stages += [(Resnet(r, causal, piece_bytes), frames) for r in encoder.mid_block.resnets]
    stages.append((pointwise(lambda x: encoder.conv_act(encoder.norm_out(x))), frames))
    stages.append((Conv(encoder.conv_out, causal, piece_bytes), frames))
    return stages


def encode_rolling(encoder: nn.Module, pixels: Tensor, chunk: int = 8, piece_bytes: int | None = None) -> Tensor:
    """Means of the latents [B, C, k+1, H', W'] (and the shared log-variance as one channel more) of [B, 3, 8k+1, H, W].

    Args:
        chunk: frames at a time.
        piece_bytes: see :func:`conv_pieces.convolve`.
    """
    _refuse_noise([r for b in (*encoder.down_blocks, encoder.mid_block) for r in b.resnets])
    return torch.cat(list(flow(_encoder_stages(encoder, chunk, piece_bytes), pixels, chunk)), dim=2)


def _decoder_stages(decoder: nn.Module, frames: int, piece_bytes: int | None) -> list[tuple[Stage, int]]:
    causal, patch = decoder.is_causal, (decoder.patch_size_t, decoder.patch_size, decoder.patch_size)
    stages: list[tuple[Stage, int]] = [(Conv(decoder.conv_in, causal, piece_bytes), frames)]
    stages += [(Resnet(r, causal, piece_bytes), frames) for r in decoder.mid_block.resnets]
    for block in decoder.up_blocks:
        if block.conv_in is not None:
            stages.append((Resnet(block.conv_in, causal, piece_bytes), frames))
        for layer in block.upsamplers or ():
            frames *= layer.stride[0]
            stages.append((Upsampler(layer, causal, piece_bytes), frames))
        stages += [(Resnet(r, causal, piece_bytes), frames) for r in block.resnets]
    stages.append((pointwise(lambda x: decoder.conv_act(decoder.norm_out(x))), frames))
    stages.append((Conv(decoder.conv_out, causal, piece_bytes), frames))
    stages.append((pointwise(lambda x: unfold(x.transpose(3, 4), patch).transpose(3, 4)), frames))
    return stages


def decode_rolling(decoder: nn.Module, latents: Tensor, chunk: int = 1, piece_bytes: int | None = None) -> Iterator[Tensor]:
    """Pieces [B, 3, T, H, W], in order, of the decoder's output for latents [B, C, k+1, H', W'].

    Args:
        chunk: latent frames at a time.
    """
    blocks = [decoder.mid_block, *decoder.up_blocks]
    _refuse_noise([r for b in blocks for r in (*b.resnets, *([b.conv_in] if getattr(b, "conv_in", None) is not None else []))])
    return flow(_decoder_stages(decoder, chunk, piece_bytes), latents, chunk)
