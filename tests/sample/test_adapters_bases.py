"""Several adapters at once on plain, quantised and streamed bases: what they do is that of merged weights, and nothing is left."""

from contextlib import contextmanager

import pytest
import torch

from ltx2core.checkpoint.adapter import Adapter
from ltx2core.checkpoint.adapter_layers import DoRALayer, LoKrLayer, MagnitudeDoRALayer
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.errors import LTX2Error
from ltx2core.memory.engine import MemorySettings, make_store
from ltx2core.memory.quantize import dequantised, quantise_block
from ltx2core.models.build import load_transformer
from ltx2core.models.forward import Modality, denoise
from ltx2core.models.latents import audio_coords, video_coords
from ltx2core.sample.adapters import adapter_bytes, applied
from ltx2core.tiny import TinySize, write_tiny_checkpoint
from ltx2core.train.live_blocks import live_blocks

CPU, LAYERS = torch.device("cpu"), 3
Q, OUT, FF = "transformer_blocks.0.attn1.to_q", "transformer_blocks.1.audio_to_video_attn.to_out.0", "transformer_blocks.2.ff.net.2"
BASES = {
    "plain": None,
    "int8": MemorySettings(precision="int8"),
    "fp8": MemorySettings(precision="fp8"),
    "streamed": MemorySettings(streamed=LAYERS, slots=2),
    "streamed int8": MemorySettings(precision="int8", streamed=2, slots=2),
    "streamed fp8": MemorySettings(precision="fp8", streamed=LAYERS, slots=2),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("b") / "tiny.safetensors", TinySize(layers=LAYERS)))


def forward(model):
    generator = torch.Generator().manual_seed(1)
    draw = lambda *s: torch.randn(*s, generator=generator)  # noqa: E731
    video = Modality(draw(1, 12, 128), torch.tensor([0.6]), video_coords(1, 2, 2, 3, 25.0), draw(1, 16, 64))
    audio = Modality(draw(1, 9, 128), torch.tensor([0.6]), audio_coords(1, 9), draw(1, 16, 64))
    with torch.no_grad():
        return denoise(model, video, audio)


def adapters(model):
    generator = torch.Generator().manual_seed(2)
    draw = lambda *s: 0.3 * torch.randn(*s, generator=generator)  # noqa: E731
    size = lambda m: (model.get_submodule(m).out_features, model.get_submodule(m).in_features)  # noqa: E731
    a = Adapter("a", {m: (draw(4, size(m)[1]), draw(size(m)[0], 4)) for m in (Q, OUT, FF, "proj_in")}, "2.0")
    b = Adapter("b", {m: (draw(3, size(m)[1]), draw(size(m)[0], 3)) for m in (Q, FF)}, "2.0")
    rows, columns = size(Q)
    c = Adapter("c", {Q: LoKrLayer(draw(4, 4), (draw(rows // 4, columns // 4),))}, "2.0")
    dora = DoRALayer(draw(3, size(OUT)[1]), draw(size(OUT)[0], 3), 1 + draw(size(OUT)[0], 1))
    sized = MagnitudeDoRALayer(draw(3, size(OUT)[1]), draw(size(OUT)[0], 3), 1 + draw(size(OUT)[0], 1))
    return [(a, 0.7), (b, -0.4), (c, 0.5), (Adapter("d", {OUT: dora}, "2.0"), 1.0), (Adapter("e", {OUT: sized}, "2.0"), 0.5)]


def stored_weights(model, precision):
    """The model with its blocks' weights replaced by what a base of ``precision`` says that they are."""
    for block in model.transformer_blocks:
        for name, tensor in dequantised(quantise_block(block, precision), torch.float32).items():
            block.get_parameter(name).data = tensor.clone()
    return model


def merged(model, pairs):
    """W + the sum of the changes; a DoRA's rows then have their own lengths, each change being that to the base alone."""
    bases = {m: model.get_submodule(m).weight.data.clone() for adapter, _ in pairs for m in adapter.layers}
    for adapter, strength in pairs:
        for module, layer in adapter.layers.items():
            base, delta = bases[module], layer.delta()
            if isinstance(layer, MagnitudeDoRALayer):
                delta = (base + delta) * layer.scale / (base + delta).norm(dim=1, keepdim=True) - base
            elif isinstance(layer, DoRALayer):
                delta = (base + delta) * layer.scale / base.norm(dim=1, keepdim=True) - base
            model.get_submodule(module).weight.data += strength * delta
    return model


@contextmanager
def stored_elsewhere(model, settings):
    """Yields the forward pass of the model; with settings only the store has the blocks' weights, the blocks' own are emptied."""
    if settings is None:
        yield lambda: forward(model)
        return
    blocks = list(model.transformer_blocks)
    store = make_store(blocks, settings, CPU)
    if settings.precision != "bf16" or settings.streamed == LAYERS:
        assert all(p.numel() == 0 for p in blocks[-1].parameters())

    def weights(index, dtype):
        return dequantised(store.acquire(index, [i % LAYERS for i in range(index + 1, index + LAYERS)]), dtype)

    def run():
        with live_blocks(model, blocks, weights, store.release):
            return forward(model)

    yield run


@pytest.mark.parametrize("base", BASES)
def test_adapters_equal_merged_weights_on_every_base(file, base):
    settings = BASES[base]
    expected_model = stored_weights(load_transformer(file, dtype=torch.float32), settings.precision if settings else "bf16")
    plain = forward(expected_model)
    model = load_transformer(file, dtype=torch.float32)
    pairs = adapters(model)
    changed = forward(merged(expected_model, pairs))
    with stored_elsewhere(model, settings) as base_forward:
        before = base_forward()
        with applied(model, pairs, device=CPU, dtype=torch.float32):
            ours = base_forward()
        after = base_forward()
    for i in range(2):
        size = changed[i].abs().max()
        assert (changed[i] - plain[i]).abs().max() > 0.05 * size
        assert torch.allclose(before[i], plain[i], atol=1e-5 * size) and torch.allclose(ours[i], changed[i], atol=1e-4 * size)
        assert torch.equal(after[i], before[i])  # without a trace: to the bit
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_bytes_are_those_of_the_matrices_that_act(file):
    pairs = adapters(load_transformer(file, dtype=torch.float32))
    numbers = 4 * (128 + 128 + 64 + 128 + 512 + 128 + 128 + 128)
    sizes = {name: sum(t.numel() for layer in a.layers.values() for t in layer.tensors().values()) for a, _ in pairs for name in [a.name]}
    assert adapter_bytes(pairs[:1], torch.bfloat16) == 2 * sizes["a"] and sizes["a"] == numbers
    assert adapter_bytes([(pairs[0][0], 0.0)], torch.bfloat16) == 0
    assert adapter_bytes(pairs[:2], torch.float32) == 4 * (sizes["a"] + sizes["b"])


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_strengths_that_are_no_numbers_are_refused(file, strength):
    model = load_transformer(file, dtype=torch.float32)
    with pytest.raises(LTX2Error, match="strength of the adapter a is"), applied(model, [(adapters(model)[0][0], strength)]):
        pass
    assert not any(m._forward_hooks for m in model.modules())
