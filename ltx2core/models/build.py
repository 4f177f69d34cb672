"""Builds each component of a combined file as diffusers' module, weights read straight into it."""

from __future__ import annotations

import torch
from torch import nn

from ..checkpoint import config as arguments
from ..checkpoint.combined import Checkpoint
from ..checkpoint.header import CheckpointError
from ..checkpoint.reader import fill_module


def _shape(checkpoint: Checkpoint, key: str) -> tuple[int, ...]:
    info = checkpoint.header.tensors.get(key)
    if info is None:
        raise CheckpointError(f"{checkpoint.path.name}, component connectors: missing key {key}; the file is incomplete or of another model.")
    return info.shape


def _transformer(checkpoint: Checkpoint) -> nn.Module:
    from diffusers import LTX2VideoTransformer3DModel

    return LTX2VideoTransformer3DModel(**arguments.transformer_arguments(checkpoint.config))


def hidden_states_needed(checkpoint: Checkpoint) -> tuple[int, int]:
    """(width, count) of the text-encoder hidden states this checkpoint was made for: (3840, 49) for Gemma3 12B."""
    width, stacked = _shape(checkpoint, "text_embedding_projection.aggregate_embed.weight")
    return width, stacked // width


def _connectors(checkpoint: Checkpoint) -> nn.Module:
    from diffusers.pipelines.ltx2 import LTX2TextConnectors

    registers = _shape(checkpoint, "model.diffusion_model.video_embeddings_connector.learnable_registers")[0]
    return LTX2TextConnectors(**arguments.connector_arguments(checkpoint.config, hidden_states_needed(checkpoint)[1], registers))


def _video_vae(checkpoint: Checkpoint) -> nn.Module:
    from diffusers import AutoencoderKLLTX2Video

    return AutoencoderKLLTX2Video(**arguments.video_vae_arguments(checkpoint.config))


def _audio_vae(checkpoint: Checkpoint) -> nn.Module:
    from diffusers import AutoencoderKLLTX2Audio

    return AutoencoderKLLTX2Audio(**arguments.audio_vae_arguments(checkpoint.config))


def _vocoder(checkpoint: Checkpoint) -> nn.Module:
    from diffusers.pipelines.ltx2 import LTX2Vocoder

    return LTX2Vocoder(**arguments.vocoder_arguments(checkpoint.config))


_BUILDERS = {
    "transformer": _transformer,
    "connectors": _connectors,
    "video_vae": _video_vae,
    "audio_vae": _audio_vae,
    "vocoder": _vocoder,
}


def skeleton(checkpoint: Checkpoint, component: str) -> nn.Module:
    """The component's module on the meta device: shapes, no weights."""
    with torch.inference_mode(False), torch.device("meta"):
        return _BUILDERS[component](checkpoint)


def load_component(checkpoint: Checkpoint, component: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """One component in eval mode with frozen weights in ``dtype`` on ``device``.

    Raises:
        CheckpointError: a key missing, unexpected or of the wrong shape.
    """
    checkpoint.tensors(component)
    return fill_module(skeleton(checkpoint, component), checkpoint.header, checkpoint.family.components[component], component, torch.device(device), dtype)


def load_transformer(checkpoint: Checkpoint, device="cpu", dtype=torch.bfloat16) -> nn.Module:
    return load_component(checkpoint, "transformer", device, dtype)


def load_connectors(checkpoint: Checkpoint, device="cpu", dtype=torch.bfloat16) -> nn.Module:
    return load_component(checkpoint, "connectors", device, dtype)


def load_video_vae(checkpoint: Checkpoint, device="cpu", dtype=torch.bfloat16) -> nn.Module:
    return load_component(checkpoint, "video_vae", device, dtype)


def load_audio_vae(checkpoint: Checkpoint, device="cpu", dtype=torch.bfloat16) -> nn.Module:
    return load_component(checkpoint, "audio_vae", device, dtype)


def load_vocoder(checkpoint: Checkpoint, device="cpu", dtype=torch.bfloat16) -> nn.Module:
    return load_component(checkpoint, "vocoder", device, dtype)
