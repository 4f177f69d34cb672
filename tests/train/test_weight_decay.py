"""Which weights decay: matrices, and vectors only when asked; and CAME, where its library is installed."""

import sys

import pytest
import torch
from torch import nn

from ltx2core.errors import LTX2Error
from ltx2core.train.optim import make_optimizer
from ltx2core.train.settings import OPTIMIZERS, TrainSettings

# Prodigy's one step size couples all weights; it has a test of its own below.
APART = [kind for kind in OPTIMIZERS if kind != "prodigy"]


def trained(kind, **settings):
    """A matrix and a vector after six steps on gradients that are the same for all settings."""
    if kind == "came":
        pytest.importorskip("pytorch_optimizer")
    torch.manual_seed(0)
    dtype = torch.bfloat16 if kind == "adamw_bf16" else torch.float32
    parameters = [nn.Parameter(torch.randn(s).to(dtype)) for s in ((8, 96), (70,), (16, 40))]
    optimizer = make_optimizer(parameters, TrainSettings(optimizer=kind, max_grad_norm=0.0, **settings))
    for _ in range(6):
        for parameter in parameters:
            parameter.grad += torch.randn(parameter.shape).to(dtype)
        optimizer.set_rate(0.01)
        optimizer.step()
    return [p.detach().float() for p in parameters]


@pytest.mark.parametrize("kind", APART)
def test_vectors_do_not_decay_and_matrices_do(kind):
    none, apart, whole = trained(kind, weight_decay=0.0), trained(kind, weight_decay=2.0), trained(kind, weight_decay=2.0, decay_vectors=True)
    near = {"rtol": 2e-2, "atol": 2e-2} if kind == "adamw_bf16" else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(apart[1], none[1], **near)
    for i in (0, 2):
        torch.testing.assert_close(apart[i], whole[i], **near)
        # (1 - 0.01 * 2) ** 6 is 0.886.
        assert apart[i].abs().mean() < 0.95 * none[i].abs().mean()
    assert whole[1].abs().mean() < 0.97 * apart[1].abs().mean()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_without_gradients_only_decay_is_left(kind):
    if kind == "came":
        pytest.importorskip("pytorch_optimizer")
    dtype = torch.bfloat16 if kind == "adamw_bf16" else torch.float32
    parameters = [nn.Parameter(torch.full(s, 2.0, dtype=dtype)) for s in ((64, 64), (64,))]
    optimizer = make_optimizer(parameters, TrainSettings(optimizer=kind, weight_decay=0.5))
    optimizer.set_rate(0.1 if kind != "prodigy" else 1e5)  # times its first distance of 1e-6
    optimizer.step()
    assert (parameters[1] == 2).all()
    assert parameters[0].float().mean().item() == pytest.approx(2 * (1 - 0.1 * 0.5), rel=2e-3)


def test_came_s_state_goes_on_to_the_bit():
    pytest.importorskip("pytorch_optimizer")
    settings = TrainSettings(optimizer="came", weight_decay=0.1)
    torch.manual_seed(0)
    start, gradients = torch.randn(8, 24), torch.randn(6, 8, 24)

    def make(value):
        parameter = nn.Parameter(value.clone())
        return parameter, make_optimizer([parameter], settings)

    def steps(parameter, optimizer, chosen):
        for gradient in chosen:
            parameter.grad += gradient
            optimizer.set_rate(0.01)
            optimizer.step()

    whole, one = make(start)
    steps(whole, one, gradients)
    first, two = make(start)
    steps(first, two, gradients[:3])
    second, three = make(first.detach())
    three.load_state_dict({k: t.clone() for k, t in two.state_dict().items()})
    steps(second, three, gradients[3:])
    assert torch.equal(second, whole) and not torch.equal(whole, start)


def test_came_is_that_of_its_paper():
    """Algorithm 2 of Luo et al. 2023, one matrix, written out in float64."""
    pytest.importorskip("pytorch_optimizer")
    torch.manual_seed(0)
    start, gradients = torch.randn(6, 20), torch.randn(5, 6, 20)
    parameter = nn.Parameter(start.clone())
    optimizer = make_optimizer([parameter], TrainSettings(optimizer="came", weight_decay=0.0, max_grad_norm=0.0))
    value, m = start.double(), torch.zeros(6, 20).double()
    r, c, big_r, big_c = (torch.zeros(n).double() for n in (6, 20, 6, 20))
    for gradient in gradients:
        parameter.grad += gradient
        optimizer.set_rate(0.01)
        optimizer.step()
        g = gradient.double()
        r, c = 0.999 * r + 0.001 * (g * g).mean(1), 0.999 * c + 0.001 * (g * g).mean(0)
        u = g / (r[:, None] * c[None] / r.mean()).sqrt()
        u = u / max(1.0, (u.norm() / u.numel() ** 0.5).item())
        m = 0.9 * m + 0.1 * u
        residual = (u - m) ** 2
        big_r, big_c = 0.9999 * big_r + 0.0001 * residual.mean(1), 0.9999 * big_c + 0.0001 * residual.mean(0)
        value = value - 0.01 * m / (big_r[:, None] * big_c[None] / big_r.mean()).sqrt()
    torch.testing.assert_close(parameter.detach().double(), value, rtol=1e-4, atol=1e-5)


def test_came_without_its_library_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(LTX2Error, match="pip install pytorch-optimizer"):
        make_optimizer([nn.Parameter(torch.zeros(2, 2))], TrainSettings(optimizer="came"))
