"""AdamW against its formulas in float64, the schedule, clipping, and bf16 that learns."""

import math

import pytest
import torch
from torch import nn

from ltx2core.errors import LTX2Error
from ltx2core.train.optim import MasterAdamW, StochasticAdamW, make_optimizer, rate_at, stochastic_round
from ltx2core.train.settings import TrainSettings


def adamw_by_hand(value, gradients, rate, decay, limit):
    """Loshchilov and Hutter, algorithm 2, after scaling to a norm of at most ``limit``; float64."""
    m, v, value = torch.zeros_like(value), torch.zeros_like(value), value.clone()
    for t, g in enumerate(gradients, 1):
        g = g * min(1.0, limit / (g.norm().item() + 1e-6)) if limit else g
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        value = value * (1 - rate * decay) - rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return value


def run(optimizer, parameter, gradients, rate):
    for g in gradients:
        parameter.grad += g
        optimizer.set_rate(rate)
        optimizer.step()


@pytest.fixture
def numbers():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, generator=generator, dtype=torch.float64), [torch.randn(40, generator=generator, dtype=torch.float64) for _ in range(6)]


@pytest.mark.parametrize("limit", [0.0, 2.0])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_adamw(numbers, limit, accumulation):
    start, gradients = numbers
    settings = TrainSettings(weight_decay=0.1, decay_vectors=True, max_grad_norm=limit, accumulation=accumulation)
    parameter = nn.Parameter(start.float())
    run(MasterAdamW([parameter], settings), parameter, [g.float() * accumulation for g in gradients], 0.01)
    assert torch.allclose(parameter.double(), adamw_by_hand(start, gradients, 0.01, 0.1, limit), atol=1e-6)
    assert parameter.grad.eq(0).all()


def test_the_norm_that_is_reported_is_the_one_before_clipping(numbers):
    parameter = nn.Parameter(numbers[0].float())
    optimizer = MasterAdamW([parameter], TrainSettings(max_grad_norm=0.5))
    parameter.grad += numbers[1][0].float()
    assert optimizer.step().item() == pytest.approx(numbers[1][0].norm().item(), rel=1e-5)


@pytest.mark.parametrize("kind", [MasterAdamW, StochasticAdamW])
def test_small_updates_are_not_lost_in_bf16(kind):
    """200 steps of 1e-4 against weights of 1: each is far below bf16's spacing of 1/128 there."""
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.ones(4000, dtype=torch.bfloat16))
    run(kind([parameter], TrainSettings(weight_decay=0.0, max_grad_norm=0.0)), parameter, [torch.ones(4000).bfloat16()] * 200, 1e-4)
    assert parameter.dtype == torch.bfloat16 and parameter.float().mean().item() == pytest.approx(0.98, abs=2e-3)


def test_stochastic_adamw_follows_adamw_on_average(numbers):
    torch.manual_seed(0)
    start, gradients = numbers
    many = nn.Parameter(start.bfloat16().repeat(4000, 1))
    exact = adamw_by_hand(start.bfloat16().double(), [g.bfloat16().double() for g in gradients], 0.01, 0.1, 0.0)
    run(StochasticAdamW([many], TrainSettings(weight_decay=0.1, decay_vectors=True, max_grad_norm=0.0)), many, [g.bfloat16().repeat(4000, 1) for g in gradients], 0.01)
    assert (many.double().mean(0) - exact).abs().max() < 2e-3


def test_stochastic_rounding_is_unbiased_and_exact_on_bf16():
    torch.manual_seed(0)
    values = torch.tensor([1.001, -3.3, 1e-20, 0.0, 65504.0])
    rounded = stochastic_round(values.repeat(100_000, 1)).double()
    spacing = (torch.nextafter(values.bfloat16(), torch.tensor(torch.inf).bfloat16()).double() - values.bfloat16().double()).abs()
    assert ((rounded.mean(0) - values.double()).abs() <= 6 * spacing / math.sqrt(100_000)).all()
    assert ((rounded - values.double()).abs().max(0).values <= spacing).all()
    exact = torch.randn(1000).bfloat16()
    assert torch.equal(stochastic_round(exact.float()), exact)


@pytest.mark.parametrize("dtype, name", [(torch.float32, "adamw"), (torch.bfloat16, "adamw"), (torch.bfloat16, "adamw_bf16")])
def test_its_state_goes_on_bit_for_bit(dtype, name, numbers):
    settings = TrainSettings(optimizer=name)
    gradients = [g.to(dtype) for g in numbers[1]]
    whole, first, later = (nn.Parameter(numbers[0].to(dtype)) for _ in range(3))
    torch.manual_seed(1)
    run(make_optimizer([whole], settings), whole, gradients, 0.01)
    torch.manual_seed(1)
    optimizer = make_optimizer([first], settings)
    run(optimizer, first, gradients[:3], 0.01)
    state = {k: v.clone() for k, v in optimizer.state_dict().items()}
    with torch.no_grad():
        later.copy_(first)
    resumed = make_optimizer([later], settings)
    resumed.load_state_dict(state)
    run(resumed, later, gradients[3:], 0.01)
    assert torch.equal(later, whole)


def test_a_state_that_does_not_fit_is_refused():
    optimizer = MasterAdamW([nn.Parameter(torch.zeros(3))], TrainSettings())
    with pytest.raises(LTX2Error, match="does not fit this run"):
        optimizer.load_state_dict({"step": torch.zeros(())})


def test_bf16_adamw_needs_bf16():
    with pytest.raises(LTX2Error, match="set dtype to bf16"):
        make_optimizer([nn.Parameter(torch.zeros(3))], TrainSettings(optimizer="adamw_bf16"))


@pytest.mark.parametrize("schedule, middle, end", [("constant", 1.0, 1.0), ("linear", 0.5, 0.0), ("cosine", 0.5, 0.0)])
def test_schedules(schedule, middle, end):
    settings = TrainSettings(steps=110, warmup=10, learning_rate=2.0, schedule=schedule)
    warm = [rate_at(settings, s) for s in range(11)]
    assert warm[0] > 0 and warm[10] == 2.0 and all(b - a == pytest.approx(warm[0]) for a, b in zip(warm, warm[1:], strict=False))
    assert rate_at(settings, 60) == pytest.approx(2 * middle) and rate_at(settings, 110) == pytest.approx(2 * end)
    assert rate_at(TrainSettings(warmup=0), 0) == 1e-4


@pytest.mark.parametrize("kind, dtype", [(MasterAdamW, torch.float32), (MasterAdamW, torch.bfloat16), (StochasticAdamW, torch.bfloat16)])
def test_parameters_of_odd_sizes_do_not_mix(kind, dtype):
    """Only the parameter that has a gradient moves; values and gradients are seen through the module as before."""
    torch.manual_seed(0)
    layers = [nn.Linear(3, 5, bias=False, dtype=dtype), nn.Linear(5, 7, bias=False, dtype=dtype), nn.Linear(7, 1, bias=False, dtype=dtype)]
    before = [layer.weight.detach().clone() for layer in layers]
    optimizer = kind([layer.weight for layer in layers], TrainSettings(weight_decay=0.0, max_grad_norm=0.0))
    assert all(torch.equal(layer.weight, old) for layer, old in zip(layers, before, strict=True))
    layers[1](torch.ones(2, 5, dtype=dtype)).sum().backward()
    assert layers[1].weight.grad.eq(2).all()
    optimizer.set_rate(0.5)
    assert optimizer.step().item() == pytest.approx(2 * 35**0.5, rel=1e-3)
    assert torch.equal(layers[0].weight, before[0]) and torch.equal(layers[2].weight, before[2])
    assert torch.allclose(layers[1].weight, before[1] - 0.5, atol=0.01) and layers[1].weight.grad.eq(0).all()
