"""A tiny random combined checkpoint in the exact layout of the real one: same prefixes, original key names, metadata.

Widths that other programs hard-code (128 video latent channels, 8x16 audio latents, 24 kHz vocoder) are the real ones,
so ComfyUI's own LTX-2 nodes load the file too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from .checkpoint.combined import Checkpoint
from .checkpoint.family import LTX_2_0
from .checkpoint.header import Header
from .models.build import skeleton


@dataclass(frozen=True)
class TinySize:
    """Widths of the tiny model. ``caption_channels`` and ``hidden_states`` must match its Gemma's width and layers + 1.

    decoder: channels of the video decoder at the pixels' end, and the factor by which each of its three stages is wider
    towards the latents. ComfyUI's own decoder has 128 there whatever the file says.
    """

    layers: int = 2
    heads: int = 4
    head_dim: int = 32
    audio_head_dim: int = 16
    caption_channels: int = 64
    hidden_states: int = 4
    registers: int = 128
    vocoder_channels: int = 32
    connector_layers: int = 1
    connector_heads: int = 2
    decoder: tuple[int, int] = (16, 2)


NATIVE_DECODER = (128, 1)


def tiny_config(size: TinySize = TinySize()) -> dict:
    """The header's ``config`` as Lightricks' file has it, with small numbers."""
    dim, audio_dim = size.heads * size.head_dim, size.heads * size.audio_head_dim
    return {
        "transformer": {
            "_class_name": "AVTransformer3DModel",
            "activation_fn": "gelu-approximate",
            "attention_bias": True,
            "attention_head_dim": size.head_dim,
            "num_attention_heads": size.heads,
            "cross_attention_dim": dim,
            "in_channels": 128,
            "out_channels": 128,
            "num_layers": size.layers,
            "caption_channels": size.caption_channels,
            "norm_eps": 1e-6,
            "norm_elementwise_affine": False,
            "qk_norm": "rms_norm",
            "standardization_norm": "rms_norm",
            "positional_embedding_type": "rope",
            "positional_embedding_theta": 10000.0,
            "positional_embedding_max_pos": [20, 2048, 2048],
            "timestep_scale_multiplier": 1000,
            "causal_temporal_positioning": True,
            "use_middle_indices_grid": True,
            "rope_type": "split",
            "frequencies_precision": "float64",
            "audio_num_attention_heads": size.heads,
            "audio_attention_head_dim": size.audio_head_dim,
            "audio_cross_attention_dim": audio_dim,
            "audio_in_channels": 128,
            "audio_out_channels": 128,
            "audio_positional_embedding_max_pos": [20],
            "av_ca_timestep_scale_multiplier": 1000,
            "av_cross_ada_norm": True,
            "use_audio_video_cross_attention": True,
            "share_ff": False,
            "connector_num_attention_heads": size.connector_heads,
            "connector_attention_head_dim": size.caption_channels // size.connector_heads,
            "connector_num_layers": size.connector_layers,
            "connector_positional_embedding_max_pos": [4096],
        },
        "vae": {
            "_class_name": "CausalVideoAutoencoder",
            "dims": 3,
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 128,
            "encoder_blocks": [
                ["res_x", {"num_layers": 1}],
                ["compress_space_res", {"multiplier": 1}],
                ["res_x", {"num_layers": 1}],
                ["compress_time_res", {"multiplier": 1}],
                ["res_x", {"num_layers": 1}],
                ["compress_all_res", {"multiplier": 1}],
                ["res_x", {"num_layers": 1}],
                ["compress_all_res", {"multiplier": 1}],
                ["res_x", {"num_layers": 1}],
            ],
            "decoder_blocks": [
                ["res_x", {"num_layers": 1}],
                ["compress_all", {"residual": True, "multiplier": size.decoder[1]}],
                ["res_x", {"num_layers": 1}],
                ["compress_all", {"residual": True, "multiplier": size.decoder[1]}],
                ["res_x", {"num_layers": 1}],
                ["compress_all", {"residual": True, "multiplier": size.decoder[1]}],
                ["res_x", {"num_layers": 1}],
            ],
            "decoder_base_channels": size.decoder[0],
            "patch_size": 4,
            "norm_layer": "pixel_norm",
            "latent_log_var": "uniform",
            "causal_decoder": False,
            "timestep_conditioning": False,
            "normalize_latent_channels": False,
        },
        "audio_vae": {
            "model": {
                "params": {
                    "sampling_rate": 16000,
                    "ddconfig": {
                        "double_z": True,
                        "mel_bins": 64,
                        "z_channels": 8,
                        "resolution": 256,
                        "in_channels": 2,
                        "out_ch": 2,
                        "ch": 128,
                        "ch_mult": [1, 1, 1],
                        "num_res_blocks": 1,
                        "attn_resolutions": [],
                        "dropout": 0.0,
                        "mid_block_add_attention": False,
                        "norm_type": "pixel",
                        "causality_axis": "height",
                    },
                }
            },
            "preprocessing": {
                "audio": {"sampling_rate": 16000},
                "stft": {"filter_length": 1024, "hop_length": 160, "win_length": 1024, "causal": True},
                "mel": {"n_mel_channels": 64, "mel_fmin": 0, "mel_fmax": 8000},
            },
        },
        "vocoder": {
            "upsample_initial_channel": size.vocoder_channels,
            "upsample_rates": [6, 5, 2, 2, 2],
            "upsample_kernel_sizes": [16, 15, 8, 4, 4],
            "resblock_kernel_sizes": [3, 7, 11],
            "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
            "resblock": "1",
            "stereo": True,
        },
    }


def _connector_stubs(size: TinySize) -> dict[str, tuple[int, ...]]:
    """The two shapes that the connectors' builder reads from the file."""
    return {
        "text_embedding_projection.aggregate_embed.weight": (size.caption_channels, size.caption_channels * size.hidden_states),
        "model.diffusion_model.video_embeddings_connector.learnable_registers": (size.registers, size.caption_channels),
    }


def combined_shapes(config: dict, size: TinySize) -> dict[str, torch.Size]:
    """Every key of a combined file with this ``config``, in the file's names, with its shape; ``size`` is the connectors'."""
    from .checkpoint.header import TensorInfo

    stubs = {k: TensorInfo("F32", s, 0, 0) for k, s in _connector_stubs(size).items()}
    blank = Checkpoint(Header(Path("tiny"), stubs, {"config": json.dumps(config)}, 0, 0, ""), LTX_2_0)
    shapes = {}
    for name, keymap in LTX_2_0.components.items():
        shapes |= {keymap.to_file(k): v.shape for k, v in skeleton(blank, name).state_dict().items()}
    return shapes


def _random(key: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Weights at the scale that keeps a deep net's activations near one; norms at one, statistics neutral."""
    if key.endswith(("std-of-means", "norm.weight")):
        return torch.ones(shape)
    if key.endswith("mean-of-means"):
        return torch.zeros(shape)
    if len(shape) < 2:
        return torch.randn(shape, generator=generator) * 0.02
    fan_in = shape[1:].numel()
    return torch.randn(shape, generator=generator) * fan_in**-0.5


def tiny_state(size: TinySize = TinySize(), seed: int = 0) -> dict[str, Tensor]:
    """Random weights in the file's names, float32."""
    generator = torch.Generator().manual_seed(seed)
    return {k: _random(k, s, generator) for k, s in combined_shapes(tiny_config(size), size).items()}


def save_combined(path: Path, state: dict[str, Tensor], config: dict, dtype: torch.dtype = torch.bfloat16) -> Path:
    save_file({k: v.to(dtype).contiguous() for k, v in state.items()}, path, metadata={"config": json.dumps(config)})
    return path


def write_tiny_checkpoint(path: str | Path, size: TinySize = TinySize(), seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Write a tiny random combined LTX-2 2.0 file; about a second."""
    return save_combined(Path(path), tiny_state(size, seed), tiny_config(size), dtype)


if __name__ == "__main__":  # python -m ltx2core.tiny FOLDER --full
    import sys

    from .cli import main

    sys.exit(main(["tiny", *sys.argv[1:]]))
