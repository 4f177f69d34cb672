"""Gradients of the adapter through the whole model and its loss, against finite differences in float64."""

import contextlib

import pytest
import torch
from torch.overrides import TorchFunctionMode

from ltx2core.models.forward import run_block, run_block_checkpointed
from ltx2core.train.batch import prepare
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.settings import LoRASettings, TrainSettings
from ltx2core.train.step import training_step
from ltx2core.train.targets import choose
from ltx2core.train.tread import TreadRoute

# Of a fourth-order difference: f(-2h) - 8 f(-h) + 8 f(h) - f(2h), over 12 h.
STENCIL = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))


class InDouble(TorchFunctionMode):
    """Whatever asks for float32 inside the block, diffusers' rotary embedding above all, is given float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float:
            return args[0].double()
        args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        return func(*args, **{k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()})


@contextlib.contextmanager
def doubled(patched):
    torch.set_default_dtype(torch.float64)
    try:
        with InDouble() if patched else contextlib.nullcontext():
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def difference(loss, parameters, directions, step):
    """Derivative of ``loss`` along ``directions``, one a parameter, by differences."""
    starts, total = [p.detach().clone() for p in parameters], 0.0
    with torch.no_grad():
        for times, weight in STENCIL:
            for parameter, start, direction in zip(parameters, starts, directions, strict=True):
                parameter.copy_(start + times * step * direction)
            total += weight * loss().item()
        for parameter, start in zip(parameters, starts, strict=True):
            parameter.copy_(start)
    return total / step


def errors(model, samples, lora, train, step, runner=run_block, only=""):
    """Relative errors of the gradient against differences: along itself, along three random directions through all trained
    tensors at once, and along the gradient of every seventh tensor.
    """
    model, targets = model.double(), "all_linear" if train.audio_weight else "video"
    with injected(model, lora, choose(targets, len(model.transformer_blocks), True).modules, 0, torch.float64) as adapter:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in adapter.parameters.values():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        inputs = prepare(samples, 3, train, torch.float64)

        def loss():
            return training_step(model, inputs, Objective.of(train), runner).total

        loss().backward()
        trained = [p for name, p in adapter.parameters.items() if name.endswith(only)]
        whole = torch.stack([p.grad.norm() for p in trained]).norm()
        tries = [(trained, [p.grad / whole for p in trained])]
        for _ in range(3):
            drawn = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in trained]
            # Half along the gradient, so that the derivative is not next to nothing.
            size = torch.stack([d.norm() for d in drawn]).norm()
            tries.append((trained, [0.7 * p.grad / whole + 0.7 * d / size for p, d in zip(trained, drawn, strict=True)]))
        tries += [([p], [p.grad / p.grad.norm()]) for p in trained[::7]]
        found = []
        for parameters, directions in tries:
            expected = sum((p.grad * d).sum() for p, d in zip(parameters, directions, strict=True)).item()
            found.append((expected / whole.item(), abs(difference(loss, parameters, directions, step) - expected) / abs(expected)))
        return found


CASES = {
    "lora": (LoRASettings(rank=2), TrainSettings(first_frame_probability=0.5)),
    "lokr": (LoRASettings(rank=2, kind="lokr", factor=4), TrainSettings()),
    "loha": (LoRASettings(rank=2, kind="loha"), TrainSettings(loss="huber")),
    "video alone": (LoRASettings(rank=2), TrainSettings(audio_weight=0.0, loss="smooth_l1")),
    "tread": (LoRASettings(rank=2), TrainSettings(tread=(TreadRoute(0.5, 0, 0),))),
}


@pytest.mark.parametrize("name", CASES)
def test_in_float64_throughout(model, make_sample, name):
    with doubled(True):
        found = errors(model, [make_sample(0, frames=2), make_sample(1, frames=2)], *CASES[name], 2e-4)
    assert len(found) > 5 and max(error for _, error in found) <= 1e-6


def test_dora_s_magnitudes(model, make_sample):
    """Of a DoRA the magnitudes alone: peft takes the norm below them for constant in backward, as the paper does."""
    with doubled(True):
        found = errors(model, [make_sample(0, frames=2)], LoRASettings(rank=2, kind="dora"), TrainSettings(), 1e-4, only="magnitude")
    assert max(error for _, error in found) <= 1e-6


@pytest.mark.parametrize("runner", [run_block, run_block_checkpointed])
def test_with_diffusers_own_casts_to_float32(model, make_sample, runner):
    """Rounded to float32 inside, a difference along next to nothing says nothing: parts of a tenth of the gradient and more."""
    with doubled(False):
        found = errors(model, [make_sample(0, frames=2), make_sample(1, frames=2)], *CASES["lora"], 4e-3, runner)
    compared = [error for share, error in found if share > 0.1]
    assert len(compared) >= 4 and max(compared) <= 1e-3
