"""Models whose layers wait in host memory give the same numbers, and their layers are never whole at once."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from ltx2core.cache.store import Store
from ltx2core.cache.text import cache_prompts, read_features
from ltx2core.checkpoint.adapter import Adapter
from ltx2core.checkpoint.adapter_layers import DoRALayer
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.memory.layers import needs_streaming, streamed_layers
from ltx2core.memory.sampling import kept_streams
from ltx2core.models.handle import Models
from ltx2core.protocols import Room
from ltx2core.sample.modes import text_to_video
from ltx2core.sample.settings import SampleSettings
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.text.encoder import load_text_encoder
from ltx2core.text.features import TextFeatures
from ltx2core.text.source import open_text_encoder
from ltx2core.tiny import TinySize, write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma

CPU = torch.device("cpu")
PROMPTS = ["A red circle.", "A green square moves left, with a tone.", ""]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_text_encoder(write_tiny_gemma(tmp_path_factory.mktemp("g") / "gemma.safetensors", num_layers=7))


def test_states_are_equal_to_the_bit_and_layers_are_empty_between(source):
    whole, streamed = (load_text_encoder(source, dtype=torch.float32) for _ in range(2))
    expected = [whole.hidden_states(PROMPTS)[0], whole.hidden_states(PROMPTS[:1])[0]]
    seen = []
    with streamed_layers(list(streamed.model.layers), CPU):
        for layer in streamed.model.layers:
            layer.mlp.register_forward_hook(lambda *_: seen.append([next(other.parameters()).numel() > 0 for other in streamed.model.layers]))
        found = [streamed.hidden_states(PROMPTS)[0], streamed.hidden_states(PROMPTS[:1])[0]]
        assert not any(p.numel() for p in streamed.model.layers.parameters())
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert [row.index(True) for row in seen] == [*range(7)] * 2 and all(sum(row) == 1 for row in seen)


def test_it_is_streamed_where_a_card_has_no_room(source):
    encoder = load_text_encoder(source)
    card = lambda most: SimpleNamespace(device=torch.device("cuda"), room=lambda: Room(0, most))  # noqa: E731
    assert needs_streaming(encoder, card(2**31), 2**31) and not needs_streaming(encoder, card(2**33), 2**31)
    assert not needs_streaming(encoder, PlainResidency(CPU), 2**60)


def test_cached_features_are_the_same(source, tmp_path):
    checkpoint = open_checkpoint(write_tiny_checkpoint(tmp_path / "tiny.safetensors", TinySize(hidden_states=8)))
    found = []
    for streamed in (False, True):
        store = Store(tmp_path / str(streamed))
        services = {"residency": PlainResidency(CPU), "reporter": ConsoleReporter(quiet=True), "stop": StopFlag()}
        keys = cache_prompts(PROMPTS, checkpoint, source, store, **services, streamed=streamed)
        found.append([read_features(store, keys[p]) for p in PROMPTS])
    assert all(torch.equal(a.video, b.video) and torch.equal(a.audio, b.audio) for a, b in zip(*found, strict=True))


def test_sampling_with_streamed_blocks_gives_the_same(tmp_path, monkeypatch):
    """Guidance runs the blocks more than once a step, and an adapter acts beside them."""
    models = Models(open_checkpoint(write_tiny_checkpoint(tmp_path / "tiny.safetensors", TinySize(layers=5))), torch.float32)
    layer = "transformer_blocks.3.attn1.to_q"
    make = torch.Generator().manual_seed(0)
    shape = models.component("transformer").get_submodule(layer).weight.shape
    adapter = Adapter("a", {layer: DoRALayer(torch.randn(2, shape[1], generator=make), torch.randn(shape[0], 2, generator=make), torch.rand(shape[0], 1, generator=make) + 0.5)}, "2.0", {})
    models = models.with_adapters((adapter, 0.8))
    texts = [TextFeatures(*(torch.randn(1, 128, 64, generator=make) for _ in range(2))) for _ in range(2)]
    services = {"residency": PlainResidency(CPU), "reporter": ConsoleReporter(quiet=True), "stop": StopFlag()}
    settings = SampleSettings(width=96, height=64, frames=9, steps=2, stg=1.0)
    whole = text_to_video(models, settings, *texts, **services)
    used = models.component("transformer")
    monkeypatch.setattr("ltx2core.memory.sampling.needs_streaming", lambda *_: True)
    found = text_to_video(models, settings, *texts, **services)
    assert torch.equal(found.video, whole.video) and torch.equal(found.audio, whole.audio) and whole.video.std() > 0.1
    assert models.loaded("transformer") is None and not any(p.numel() for p in used.transformer_blocks.parameters())
    again = text_to_video(models, settings, *texts, **services)
    assert torch.equal(again.video, whole.video)
    # Inside kept_streams later runs take the weights that the first one read, and one that broke off within a block leaves no trace.
    with kept_streams(models):
        used = models.component("transformer")
        for breaks in (False, True, False):
            hook = used.transformer_blocks[2].attn2.register_forward_pre_hook(lambda *_: {}["broken"]) if breaks else None
            with pytest.raises(KeyError) if breaks else nullcontext():
                assert torch.equal(text_to_video(models, settings, *texts, **services).video, whole.video)
            if hook:
                hook.remove()
            assert models.loaded("transformer") is used and not any(p.numel() for p in used.transformer_blocks.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in used.modules())
    assert models.loaded("transformer") is None
