"""The 19B transformer with random weights, its adapter and its inputs, made on the device."""

from __future__ import annotations

import torch
from torch import nn

from ltx2core.cache.dataset import Sample
from ltx2core.geometry import audio_latent_length, latent_frames
from ltx2core.train.batch import StepInputs, prepare
from ltx2core.train.lora import injected
from ltx2core.train.settings import LoRASettings, TrainSettings
from ltx2core.train.targets import choose

# The header's ``config`` of ltx-2-19b-dev, the part that decides shapes.
TRANSFORMER_19B = {
    "num_layers": 48, "num_attention_heads": 32, "attention_head_dim": 128, "cross_attention_dim": 4096, "in_channels": 128, "out_channels": 128,
    "caption_channels": 3840, "audio_num_attention_heads": 32, "audio_attention_head_dim": 64, "audio_cross_attention_dim": 2048,
    "audio_in_channels": 128, "audio_out_channels": 128, "rope_type": "split", "frequencies_precision": "float64", "norm_eps": 1e-6,
    "qk_norm": "rms_norm", "positional_embedding_theta": 10000.0, "positional_embedding_max_pos": [20, 2048, 2048],
    "audio_positional_embedding_max_pos": [20], "timestep_scale_multiplier": 1000, "av_ca_timestep_scale_multiplier": 1000,
    "use_middle_indices_grid": True, "causal_temporal_positioning": True,
}  # fmt: skip

# A model of the same build that any machine runs, to rehearse a benchmark.
SMALL = {
    **TRANSFORMER_19B, "num_layers": 4, "num_attention_heads": 4, "attention_head_dim": 32, "cross_attention_dim": 128,
    "audio_num_attention_heads": 4, "audio_attention_head_dim": 16, "audio_cross_attention_dim": 64,
}  # fmt: skip

# batch, frames, height, width
SHAPES = {"2x17x480x832": (2, 17, 480, 832), "1x57x512x768": (1, 57, 512, 768), "1x121x512x768": (1, 121, 512, 768)}
# Of one forward pass, in 10^12, and the matrix product of the machine that the goals were set on.
FORWARD_TFLOP = {"2x17x480x832": 74.2, "1x57x512x768": 95.3, "1x121x512x768": 201.6}


def build(device: torch.device, layers: int = 48, dtype: torch.dtype = torch.bfloat16, config: dict = TRANSFORMER_19B) -> nn.Module:  # noqa: B006
    """Random weights that keep activations near one; norms at one."""
    from diffusers import LTX2VideoTransformer3DModel

    from ltx2core.checkpoint.config import transformer_arguments

    with torch.device("meta"):
        model = LTX2VideoTransformer3DModel(**transformer_arguments({"transformer": {**config, "num_layers": layers}}))
    model = model.to(dtype).to_empty(device=device)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and parameter.ndim == 1:
                parameter.fill_(1.0)
            elif parameter.ndim < 2 or "table" in name:
                parameter.normal_(0, 0.02)
            else:
                parameter.normal_(0, 0.5 * parameter.shape[-1] ** -0.5)
    return model.eval().requires_grad_(False)


def adapter(model: nn.Module, rank: int = 32, dtype: torch.dtype = torch.bfloat16, targets: str = "audio_video", dropout: float = 0.0):
    """Context manager: LoRA on all 1152 attention linears of 48 layers, 213.9 M parameters; the second matrix not zero."""
    modules = choose(targets, len(model.transformer_blocks), True, targets == "audio_only").modules
    return injected(model, LoRASettings(rank=rank, alpha=rank, targets=targets, dropout=dropout), modules, 0, dtype)


def inputs(shape: tuple[int, int, int, int], step: int = 0, train: TrainSettings = TrainSettings()) -> StepInputs:  # noqa: B008
    """Fresh random samples with sound and 1024 text tokens, as training prepares them, on the CPU."""
    batch, frames, height, width = shape
    generator = torch.Generator().manual_seed(step)

    def make(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator).bfloat16()

    length = audio_latent_length(frames, 25.0)
    samples = [
        Sample(str(i), make(128, latent_frames(frames), height // 32, width // 32), make(8, length, 16), make(1024, 3840), make(1024, 3840), 25.0, "b")
        for i in range(batch)
    ]
    return prepare(samples, step, train, torch.bfloat16)
