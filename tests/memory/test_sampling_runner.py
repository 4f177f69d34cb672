"""Sampling on written-out blocks equals sampling on diffusers' blocks, adapters included, and leaves the model alone."""

import pytest
import torch

from benchmarks.compare import relative_error
from ltx2core.checkpoint.adapter import Adapter
from ltx2core.checkpoint.adapter_layers import LoRALayer
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.models.latents import audio_coords, video_coords
from ltx2core.memory.sampling import sampling_runner
from ltx2core.models.build import load_transformer
from ltx2core.models.forward import Modality, denoise, run_block
from ltx2core.sample.adapters import applied
from ltx2core.tiny import write_tiny_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    file = open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("m") / "tiny.safetensors"))
    return load_transformer(file, dtype=torch.float32).requires_grad_(False)


def adapter(model, name, rank, blocks):
    layers = {}
    for block in blocks:
        for part in ("attn1.to_q", "attn1.to_v", "attn2.to_k", "ff.net.2", "audio_to_video_attn.to_out.0"):
            layer = model.get_submodule(f"transformer_blocks.{block}.{part}")
            layers[f"transformer_blocks.{block}.{part}"] = LoRALayer(torch.randn(rank, layer.in_features) * 0.1, torch.randn(layer.out_features, rank) * 0.1)
    return Adapter(name, layers, "2.0", {})


def velocities(model, run, seed, timesteps):
    g = torch.Generator().manual_seed(seed)
    video = Modality(torch.randn(2, 12, 128, generator=g), torch.tensor([0.7, 0.7]), video_coords(2, 2, 2, 3, 25.0, "cpu"), torch.randn(2, 16, 64, generator=g), torch.rand(2, 12, generator=g) if timesteps else None)
    audio = Modality(torch.randn(2, 9, 128, generator=g), torch.tensor([0.7, 0.7]), audio_coords(2, 9, "cpu"), torch.randn(2, 16, 64, generator=g))
    return denoise(model, video, audio, runner=run)


@pytest.mark.parametrize("timesteps", [False, True])
@pytest.mark.parametrize("adapters", [0, 1, 2])
def test_equals_the_plain_blocks(model, adapters, timesteps):
    before = {n: p.clone() for n, p in model.named_parameters()}
    chosen = [(adapter(model, "a", 4, (0, 1)), 0.7), (adapter(model, "b", 3, (1,)), -0.4)][:adapters]
    with torch.no_grad(), applied(model, chosen):
        expected = velocities(model, run_block, 1, timesteps)
        with sampling_runner(model, True) as run:
            assert run is not run_block
            found = velocities(model, run, 1, timesteps)
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs) <= 1e-5
    for name, parameter in model.named_parameters():
        assert parameter.is_contiguous() and torch.equal(parameter, before[name]), name


def test_another_hook_keeps_the_plain_blocks(model):
    handle = model.transformer_blocks[1].attn1.to_q.register_forward_hook(lambda *_: None)
    try:
        with sampling_runner(model, True) as run:
            assert run is run_block
    finally:
        handle.remove()
