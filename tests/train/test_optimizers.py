"""Lion, Prodigy, Adafactor, 8-bit AdamW, EMA and schedules against formulas or against torch's own optimizer."""

import math

import pytest
import torch
from torch import nn

from ltx2core.errors import LTX2Error
from ltx2core.protocols import Interrupted
from ltx2core.standalone import StopFlag
from ltx2core.train.crepa import CrepaSettings
from ltx2core.train.ema import Ema, decay_at
from ltx2core.train.loop import train
from ltx2core.train.optim import make_optimizer, rate_at
from ltx2core.train.optimizers import Prodigy
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.state import load_state

KINDS = ("adamw", "adamw_bf16", "adamw_8bit", "prodigy", "adafactor", "lion")


def options(kind, **more):
    return TrainSettings(optimizer=kind, weight_decay=0.1, max_grad_norm=0.0, decay_vectors=True, **more)


def run(optimizer, parameters, gradients, rate):
    for g in gradients:
        for p, own in zip(parameters, g, strict=True):
            p.grad += own
        optimizer.set_rate(rate)
        optimizer.step()


@pytest.fixture
def numbers():
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 40), (50,)]
    return [torch.randn(s, generator=generator) for s in shapes], [[torch.randn(s, generator=generator) for s in shapes] for _ in range(8)]


def test_lion(numbers):
    start, gradients = numbers
    parameters = [nn.Parameter(s.clone()) for s in start]
    run(make_optimizer(parameters, options("lion")), parameters, gradients, 0.01)
    for i, value in enumerate(start):
        value, m = value.double(), torch.zeros_like(value).double()
        for g in gradients:
            u = (0.9 * m + 0.1 * g[i].double()).sign()
            value = value - 0.01 * (u + 0.1 * value)
            m = 0.99 * m + 0.01 * g[i].double()
        assert torch.allclose(parameters[i].double(), value, atol=1e-5)


def test_prodigy_follows_its_paper(numbers, monkeypatch):
    """Algorithm 4 in float64 over all numbers at once; gradients of a quadratic, so that d really grows.

    From 1e-6 the first steps are of the size of float32's rounding, so that paths part; here d begins larger.
    """
    monkeypatch.setattr(Prodigy, "first_distance", 1e-2)
    start, _ = numbers
    parameters = [nn.Parameter(s.clone()) for s in start]
    optimizer = make_optimizer(parameters, TrainSettings(optimizer="prodigy", weight_decay=0.0, max_grad_norm=0.0))
    x = torch.cat([s.flatten() for s in start]).double()
    x0, m, v, r, s, d = x.clone(), torch.zeros_like(x), torch.zeros_like(x), 0.0, torch.zeros_like(x), 1e-2
    scale = torch.linspace(0.5, 2, len(x)).double()
    for _ in range(40):
        now = torch.cat([p.detach().flatten() for p in parameters])
        for p, g in zip(parameters, (scale * now.double()).float().split([p.numel() for p in parameters]), strict=True):
            p.grad += g.view(p.shape)
        optimizer.set_rate(1.0)
        optimizer.step()
        g = scale * x
        m, v = 0.9 * m + 0.1 * d * g, 0.999 * v + 0.001 * d * d * g * g
        slow = math.sqrt(0.999)
        r, s = slow * r + (1 - slow) * d * d * (g @ (x0 - x)).item(), slow * s + (1 - slow) * d * d * g
        step = d
        x = x - step * m / (v.sqrt() + step * 1e-8)
        d = max(d, r / s.abs().sum().item())
    assert d > 3e-2
    assert torch.allclose(torch.cat([p.detach().flatten() for p in parameters]).double(), x, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kind, rate", [("lion", 0.01), ("prodigy", 1.0)])
def test_lion_and_prodigy_are_those_of_a_library(kind, rate, numbers, monkeypatch):
    """pytorch-optimizer's, on the gradients of a quadratic; it steps each tensor alone, ours all as one."""
    library = pytest.importorskip("pytorch_optimizer")
    monkeypatch.setattr(Prodigy, "first_distance", 1e-2)
    make = {"lion": library.Lion, "prodigy": lambda p, **o: library.Prodigy(p, d0=1e-2, **o)}[kind]
    ours, theirs = ([nn.Parameter(s.clone()) for s in numbers[0]] for _ in range(2))
    optimizer, other = make_optimizer(ours, options(kind)), make(theirs, lr=rate, weight_decay=0.1)
    optimizer.set_rate(rate)
    for _ in range(20):
        for mine, its in zip(ours, theirs, strict=True):
            mine.grad += mine.detach() - 0.5
            its.grad = its.detach() - 0.5
        optimizer.step()
        other.step()
    for mine, its, start in zip(ours, theirs, numbers[0], strict=True):
        assert torch.allclose(mine, its, atol=1e-3) and (mine - start).abs().mean() > 0.1


def test_prodigy_finds_a_rate_of_the_right_size(numbers):
    """From d = 1e-6 it reaches the minimum of |x| that is a distance of about 1 away."""
    parameter = nn.Parameter(numbers[0][0].clone())
    optimizer = make_optimizer([parameter], TrainSettings(optimizer="prodigy", weight_decay=0.0, max_grad_norm=0.0))
    for _ in range(300):
        run(optimizer, [parameter], [[parameter.detach().clone()]], 1.0)
    assert 1e-2 < optimizer.state_dict()["distance"] < 10 and parameter.abs().mean() < 0.1


def test_adafactor_is_torchs_own_on_each_matrix(numbers):
    start, gradients = numbers
    ours, theirs = ([nn.Parameter(s.clone()) for s in start] for _ in range(2))
    optimizer = make_optimizer(ours, options("adafactor"))
    run(optimizer, ours, gradients, 0.01)
    plain = torch.optim.Adafactor(theirs, lr=0.01, weight_decay=0.1)
    for g in gradients:
        for p, own in zip(theirs, g, strict=True):
            p.grad = own.clone()
        plain.step()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))
    state = optimizer.state_dict()
    assert sum(t.numel() for t in state.values()) < ours[0].numel()  # factored


def test_8_bit_moments_stay_near_exact_ones():
    generator = torch.Generator().manual_seed(1)
    start, gradients = torch.randn(80, 64, generator=generator), [[torch.randn(80, 64, generator=generator)] for _ in range(20)]
    found = {}
    for kind in ("adamw", "adamw_8bit"):
        parameter = nn.Parameter(start.clone())
        optimizer = make_optimizer([parameter], options(kind))
        run(optimizer, [parameter], gradients, 0.01)
        found[kind] = parameter.detach()
        if kind == "adamw_8bit":
            state = optimizer.state_dict()
            assert {t.dtype for n, t in state.items() if n.endswith("codes")} == {torch.uint8}
            assert sum(t.nbytes for t in state.values()) < 2.2 * start.numel()
    moved = (found["adamw"] - start).norm()
    assert (found["adamw_8bit"] - found["adamw"]).norm() < 0.1 * moved and moved > 1


@pytest.mark.parametrize("kind", KINDS)
def test_state_goes_on_to_the_bit(kind, numbers):
    dtype = torch.bfloat16 if kind == "adamw_bf16" else torch.float32
    start, gradients = numbers
    torch.manual_seed(3)
    whole = [nn.Parameter(s.to(dtype)) for s in start]
    first = make_optimizer(whole, options(kind))
    run(first, whole, [[g.to(dtype) for g in gs] for gs in gradients[:4]], 0.01)
    other = [nn.Parameter(p.detach().clone()) for p in whole]
    second = make_optimizer(other, options(kind))
    second.load_state_dict({n: t.clone() for n, t in first.state_dict().items()})
    for optimizer, parameters in ((first, whole), (second, other)):
        torch.manual_seed(4)
        run(optimizer, parameters, [[g.to(dtype) for g in gs] for gs in gradients[4:]], 0.01)
    assert all(torch.equal(a, b) for a, b in zip(whole, other, strict=True))


@pytest.mark.parametrize("kind", ["adamw_8bit", "prodigy", "adafactor", "lion"])
def test_gradients_are_scaled_and_zeroed(kind):
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(80, 64))
    optimizer = make_optimizer([parameter], TrainSettings(optimizer=kind, max_grad_norm=1.0, accumulation=2))
    gradient = torch.randn(80, 64)
    parameter.grad += gradient
    assert optimizer.step().item() == pytest.approx(gradient.norm().item() / 2, rel=1e-4) and not parameter.grad.any()


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "adamw_bf16"])
def test_a_clipped_step_is_that_of_a_gradient_cut_by_hand(kind):
    """Sums of two passes, halved, then brought to a norm of at most 1; three steps of different norms, since one alone has no scale."""
    torch.manual_seed(0)
    start, gradients = torch.randn(80, 64), [torch.randn(80, 64) * size for size in (0.5, 1e-3, 2.0)]
    clipped, by_hand = (nn.Parameter(start.clone()) for _ in range(2))
    rate, common = (1.0 if kind == "prodigy" else 0.01), {"optimizer": kind, "weight_decay": 0.0}
    run(make_optimizer([clipped], TrainSettings(**common, max_grad_norm=1.0, accumulation=2)), [clipped], [[g] for g in gradients], rate)
    cut = [[g / 2 * min(1.0, 1 / (g.norm() / 2).item())] for g in gradients]
    run(make_optimizer([by_hand], TrainSettings(**common, max_grad_norm=0.0)), [by_hand], cut, rate)
    moved = (by_hand - start).norm()
    assert moved > 0 and (clipped - by_hand).norm() < 1e-3 * moved
    uncut = nn.Parameter(start.clone())
    run(make_optimizer([uncut], TrainSettings(**common, max_grad_norm=0.0)), [uncut], [[g / 2] for g in gradients], rate)
    assert (uncut - by_hand).norm() > 1e-2 * moved


def test_ema_is_the_weighted_mean_of_what_the_weights_were():
    parameter = nn.Parameter(torch.zeros(3))
    ema, values = Ema({"x": parameter}, 0.8), [0.0]
    expected = torch.zeros(3)
    for step in range(1, 12):
        parameter.data = torch.full((3,), float(step))
        ema.update(step)
        decay = min(0.8, step / (step + 9))
        expected = decay * expected + (1 - decay) * step
        values.append(step)
    assert torch.allclose(ema.state_dict()["x"], expected) and decay_at(0.8, 10_000) == 0.8
    address = parameter.data_ptr()
    with ema.applied():
        assert torch.allclose(parameter, expected) and parameter.data_ptr() == address
    assert torch.equal(parameter, torch.full((3,), 11.0))


def test_schedules():
    def settings(schedule, **more):
        return TrainSettings(steps=110, warmup=10, learning_rate=1.0, schedule=schedule, **more)

    assert rate_at(settings("polynomial"), 60) == pytest.approx(0.25) and rate_at(settings("polynomial", schedule_power=3.0), 60) == pytest.approx(0.125)
    assert rate_at(settings("linear", schedule_end=0.2), 60) == pytest.approx(0.6) and rate_at(settings("linear", schedule_end=0.2), 110) == pytest.approx(0.2)
    twice = settings("cosine", schedule_restarts=1)
    assert rate_at(twice, 35) == pytest.approx(0.5) and rate_at(twice, 60) == pytest.approx(1.0) and rate_at(twice, 59) < 0.01
    assert rate_at(settings("constant", schedule_end=0.5), 60) == 1.0
    with pytest.raises(LTX2Error, match="schedule_end"):
        settings("linear", schedule_end=1.5)


class StopAfter(StopFlag):
    """Asked once a step; true at the third question."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def requested(self):
        self.asked += 1
        return self.asked > 2


@pytest.mark.parametrize("kind, rate", [("adamw", 1e-2), ("prodigy", 1.0)])
def test_crepa_s_head_learns_at_a_rate_of_its_size(kind, rate, model, make_cache, tmp_path, surroundings):
    """Prodigy's rate of 1 is a factor of what it finds; for AdamW it would throw the head's weights, below 0.2, to 1 and beyond at once."""
    crepa = CrepaSettings(feature_source="backbone", block_index=0, teacher_block_index=1)
    settings = TrainSettings(steps=8, warmup=0, learning_rate=rate, dtype="float32", optimizer=kind, validation_clips=0, crepa=crepa)
    result = train(RunConfig(LoRASettings(rank=2), settings), model, make_cache(tmp_path / "cache"), directory=tmp_path / "run", **surroundings)
    state = load_state(result.adapter_state_path).part("crepa")
    assert state["head.1.weight"].abs().max() < 0.5 and state["head.1.bias"].abs().max() < 0.5


@pytest.mark.parametrize("kind", ["adamw_8bit", "prodigy", "adafactor", "lion"])
def test_an_interrupted_run_with_ema_ends_as_an_uninterrupted_one(kind, model, make_cache, tmp_path, surroundings):
    cache = make_cache(tmp_path / "cache")
    rate = 1.0 if kind == "prodigy" else 1e-3
    settings = TrainSettings(steps=4, warmup=1, learning_rate=rate, dtype="float32", optimizer=kind, ema_decay=0.9, validation_clips=0)
    config = RunConfig(LoRASettings(rank=2, targets="video"), settings)
    whole = train(config, model, cache, directory=tmp_path / "whole", **surroundings)
    with pytest.raises(Interrupted):
        train(config, model, cache, directory=tmp_path / "parts", **{**surroundings, "stop": StopAfter()})
    parts = train(config, model, cache, directory=tmp_path / "parts", **surroundings)
    for module, layer in whole.adapter.layers.items():
        assert torch.equal(layer.down, parts.adapter.layers[module].down) and torch.equal(layer.up, parts.adapter.layers[module].up)
