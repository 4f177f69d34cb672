"""Dropout by keys: how much it leaves out, that layers and passes are independent, and that it is one function everywhere."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from ltx2core.train.dropout import DropoutKeys, KeyedDropout, kept, mixed
from ltx2core.train.lora import injected
from ltx2core.train.loop import train
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.targets import preset_modules

CPU = torch.device("cpu")


def layers(count, p):
    made = {str(i): KeyedDropout(p, CPU) for i in range(count)}
    return list(made.values()), DropoutKeys(made, seed=0)


def test_the_hash_is_murmur_s():
    """MurmurHash3_x86_32 of no bytes is its finaliser of the seed; these are its published values."""
    values = mixed(torch.tensor([0, 1, -1], dtype=torch.int32)).tolist()
    assert [v % 2**32 for v in values] == [0, 0x514E28B7, 0x81F16F39]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share(p):
    """Of all values, and of each row and column: within five standard deviations of a binomial."""
    rows, columns = 3000, 500
    (layer,), keys = layers(1, p)
    keys.draw(4, 1)
    mask = kept(layer.key, (2, rows // 2, columns), p).view(rows, columns).double()
    for found, count in ((mask.mean(), rows * columns), (mask.mean(0), rows), (mask.mean(1), columns)):
        assert ((found - (1 - p)).abs() < 5 * (p * (1 - p) / count) ** 0.5).all()


def test_independence():
    """Correlations of +-1 masks of N values are 0 with a standard deviation of 1/sqrt(N): between layers, passes, and neighbours."""
    made, keys = layers(4, 0.5)
    masks, shape = [], (256, 384)
    for purpose in ((0, 0), (1, 0), (0, 1)):
        keys.draw(*purpose)
        masks += [kept(layer.key, shape, 0.5).flatten() for layer in made]
    DropoutKeys({"0": made[0]}, seed=1).draw(0, 0)
    first = masks[0].view(shape)
    masks += [kept(made[0].key, shape, 0.5).flatten(), *(first.roll(move, dim).flatten() for move, dim in ((1, 0), (1, 1), (64, 0), (128, 1)))]
    signs = 2 * torch.stack(masks).double() - 1
    correlations = signs @ signs.T / signs.shape[1] - torch.eye(len(masks), dtype=torch.float64)
    assert correlations.abs().max() < 5 / signs.shape[1] ** 0.5


def test_keys_are_of_names_and_passes_alone_and_written_in_place():
    made, keys = layers(3, 0.5)
    places = [layer.key.data_ptr() for layer in made]
    keys.draw(7, 2)
    found = [layer.key.clone() for layer in made]
    keys.draw(8, 2)
    assert all((layer.key != key).any() for layer, key in zip(made, found, strict=True))
    alone = KeyedDropout(0.5, CPU)
    DropoutKeys({"1": alone}, 0).draw(7, 2)
    keys.draw(7, 2)
    assert torch.equal(alone.key, found[1]) and all(torch.equal(layer.key, key) for layer, key in zip(made, found, strict=True))
    assert [layer.key.data_ptr() for layer in made] == places and not made[0].state_dict()


def test_another_layer_s_code_with_a_key_that_is_given():
    """As one block's code runs all blocks; in evaluation nothing is left out."""
    (one, two), keys = layers(2, 0.3)
    keys.draw(0, 0)
    x = torch.randn(2, 5, 64)
    assert torch.equal(functional_call(one, {"key": two.key}, (x,)), two(x)) and not torch.equal(one(x), two(x))
    assert one.eval()(x) is x


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_values_and_gradient(dtype):
    (layer,), keys = layers(1, 0.25)
    keys.draw(0, 0)
    x = torch.randn(3, 40, 32, dtype=dtype, requires_grad=True)
    y, mask = layer(x), kept(layer.key, x.shape, 0.25)
    y.backward(torch.ones_like(y))
    within = torch.finfo(dtype).eps
    assert y.dtype == dtype and torch.allclose(y.double(), mask * x.double() / 0.75, rtol=within, atol=0)
    assert torch.allclose(x.grad.double(), mask.double() / 0.75, rtol=within, atol=0)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_every_layer_of_an_adapter_has_a_key_of_its_own(kind, model):
    modules = preset_modules("audio_video", 2)
    with injected(model, LoRASettings(rank=2, dropout=0.1, kind=kind), modules, 0, torch.float32):
        keys = {tuple(m.key.tolist()) for m in model.modules() if isinstance(m, KeyedDropout)}
    assert len(keys) == len(modules) and not any(isinstance(m, nn.Dropout) and m.p for m in model.modules())


def test_every_pass_of_a_run_has_its_masks(model, make_cache, tmp_path, surroundings, monkeypatch):
    """Two passes a step; a run of which the second half goes on from the first draws what one that was not stopped draws."""
    drawn, draw = [], DropoutKeys.draw
    monkeypatch.setattr(DropoutKeys, "draw", lambda self, *purpose: (draw(self, *purpose), drawn.append(tuple(self._layers[0].key.tolist()))))
    run = RunConfig(LoRASettings(rank=2, dropout=0.3), TrainSettings(steps=3, warmup=0, accumulation=2, dtype="float32", validation_clips=0))
    cache, found = make_cache(tmp_path / "cache"), []
    for name, ends in (("whole", (3,)), ("parts", (1, 3))):
        found.append([])
        for end in ends:
            drawn.clear()
            train(run, model, cache, directory=tmp_path / name, until=end, **surroundings)
            found[-1] += drawn[1:]  # without that of a fresh adapter
    assert found[0] == found[1] and len(set(found[0])) == 6


def test_compiled_equals_eager(request):
    """Three layers on one input, as queries, keys and values have it; the compiled form keeps no copy of the input by layer."""
    if not request.config.getoption("--full"):
        pytest.skip("compiles for half a minute; with --full")
    made, keys = layers(3, 0.3)
    keys.draw(0, 0)
    model = nn.ModuleList(nn.Sequential(layer, nn.Linear(64, 4, bias=False)) for layer in made)
    model.forward = lambda x: sum(part(nn.functional.layer_norm(x, (64,))) for part in model)
    compiled, x, kept_back = torch.compile(copy.copy(model), dynamic=False), torch.randn(2, 50, 64, requires_grad=True), []
    for purpose in ((0, 0), (1, 0)):
        keys.draw(*purpose)
        results = []
        for run in (model, compiled):
            x.grad = None
            kept_back.clear()
            with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept_back.append(t.numel()), t)[1], lambda t: t):
                y = run(x)
            y.square().sum().backward()
            results.append((y.detach(), x.grad.clone()))
        for ours, theirs in zip(*results, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)
        assert kept_back.count(x.numel()) <= 2
