"""A tiny random latent upscaler in the layout of ``ltx-2-spatial-upscaler-x2-1.0.safetensors``, for tests and the demo."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

_CONFIG = {
    "_class_name": "LatentUpsampler", "in_channels": 128, "mid_channels": 32, "num_blocks_per_stage": 1, "dims": 3,
    "spatial_upsample": True, "temporal_upsample": False, "spatial_scale": 2.0, "rational_resampler": True,
}  # fmt: skip


def tiny_upscaler_state(seed: int = 0) -> tuple[dict[str, Tensor], dict]:
    """(weights in the file's names, the header's config)."""
    from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LTX2LatentUpsamplerModel(mid_channels=_CONFIG["mid_channels"], num_blocks_per_stage=_CONFIG["num_blocks_per_stage"])
    return {k: v.contiguous() for k, v in model.state_dict().items()}, dict(_CONFIG)


def write_tiny_upscaler(path: str | Path, seed: int = 0) -> Path:
    state, config = tiny_upscaler_state(seed)
    save_file(state, path, metadata={"config": json.dumps(config)})
    return Path(path)
