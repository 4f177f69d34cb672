"""Gradients of the adapter through the whole model and its loss, against finite differences in float64."""

import contextlib
from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode

from ltx2core.models.forward import run_block, run_block_checkpointed
from ltx2core.train.batch import prepare
from ltx2core.train.conditioning import Condition, ConditioningSettings
from ltx2core.train.crepa import CrepaSettings, CrepaTerm, make_head
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.prior import with_prior
from ltx2core.train.reference import ReferenceScale, prepend_reference
from ltx2core.train.reflexflow import ReflexFlowSettings
from ltx2core.train.rollout import roll_out, with_reflexflow
from ltx2core.train.rollout_settings import RolloutSettings
from ltx2core.train.settings import LoRASettings, TrainSettings
from ltx2core.train.step import training_step, velocities
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


def unchanged(adapter, inputs, objective):
    return inputs, objective


def errors(model, samples, lora, train, step, runner=run_block, only="", change=unchanged, every=7):
    """Relative errors of the gradient against differences: along itself, along three random directions through all trained
    tensors at once, and along the gradient of every seventh tensor (``every``). ``change``: (adapter, inputs, objective) -> the latter two.
    """
    model, targets = model.double(), "audio_only" if train.audio_only else "all_linear" if train.audio_weight else "video"
    with injected(model, lora, choose(targets, len(model.transformer_blocks), True).modules, 0, torch.float64) as adapter:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in adapter.parameters.values():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        inputs, objective = change(adapter, prepare(samples, 3, train, torch.float64), Objective.of(train))

        def loss():
            return training_step(model, inputs, objective, runner).total

        loss().backward()
        trained = [p for name, p in adapter.parameters.items() if name.endswith(only)]
        trained += [] if objective.crepa is None else list(objective.crepa.head.parameters())
        whole = torch.stack([p.grad.norm() for p in trained]).norm()
        tries = [(trained, [p.grad / whole for p in trained])]
        for _ in range(3):
            drawn = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in trained]
            # Half along the gradient, so that the derivative is not next to nothing.
            size = torch.stack([d.norm() for d in drawn]).norm()
            tries.append((trained, [0.7 * p.grad / whole + 0.7 * d / size for p, d in zip(trained, drawn, strict=True)]))
        tries += [([p], [p.grad / p.grad.norm()]) for p in trained[::every]]
        found = []
        for parameters, directions in tries:
            expected = sum((p.grad * d).sum() for p, d in zip(parameters, directions, strict=True)).item()
            found.append((expected / whole.item(), abs(difference(loss, parameters, directions, step) - expected) / abs(expected)))
        return found


def with_reference(adapter, inputs, objective):
    """A reference video of half the size in front of each sample."""
    latents = torch.randn(2, 128, 2, 1, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    video = prepend_reference(inputs.video, latents, torch.tensor([True, True]), 25.0, ReferenceScale(2, 1), torch.float64)
    return replace(inputs, video=video), objective


def with_crepa(adapter, inputs, objective):
    """Features of an encoder, and the head's parameters among those that are differentiated."""
    head = make_head(adapter.model.proj_in.out_features, 6, torch.Generator().manual_seed(1)).double()
    teacher = torch.randn(2, 2, 4, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    inputs = replace(inputs, teacher=teacher, teacher_weight=torch.tensor(0.5, dtype=torch.float64))
    return inputs, replace(objective, crepa=CrepaTerm(head, CrepaSettings("x", block_index=1)))


def rolled_out(adapter, inputs, objective):
    """States that the model reached, with ReflexFlow's anti-drift. Its exposure weight has no gradient by definition: alpha is 0."""
    def predict(given):
        return velocities(adapter.model, given, objective, run_block)

    with torch.no_grad():
        rolled = roll_out(inputs, torch.tensor([2, 1]), RolloutSettings(2, sampler="heun"), predict)
        rolled = with_reflexflow(inputs, rolled, True, predict)
    rolled = replace(rolled, **{s: getattr(rolled, s).map(torch.Tensor.double) for s in ("video", "audio")})
    return rolled, replace(objective, reflexflow=ReflexFlowSettings(alpha=0.0, beta1=2.0, beta2=0.5))


def kept_as_the_base(adapter, inputs, objective):
    """One sample of regularisation: its target is the base's prediction."""
    return with_prior(inputs, torch.tensor([True, False]), adapter, lambda given: velocities(adapter.model, given, objective, run_block)), objective


WHOLE = ConditioningSettings((Condition("suffix", frames=1), Condition("mask", region=(0, 0, 1, 1)), Condition("spatial_crop", region=(0, 0, 1, 1))))
CASES = {
    "lora": (LoRASettings(rank=2), TrainSettings(first_frame_probability=0.5)),
    "lokr": (LoRASettings(rank=2, kind="lokr", factor=4), TrainSettings()),
    "loha": (LoRASettings(rank=2, kind="loha"), TrainSettings(loss="huber")),
    "video alone": (LoRASettings(rank=2), TrainSettings(audio_weight=0.0, loss="smooth_l1")),
    "tread": (LoRASettings(rank=2), TrainSettings(tread=(TreadRoute(0.5, 0, 0),))),
    "dropout": (LoRASettings(rank=2, dropout=0.3), TrainSettings()),
    "rslora, tokens given": (LoRASettings(rank=2, alpha=3, rslora=True), TrainSettings(conditioning=WHOLE, loss="smooth_l1")),
    "frozen sound": (LoRASettings(rank=2), TrainSettings(conditioning=ConditioningSettings(frozen_audio=1.0))),
    "frozen video": (LoRASettings(rank=2), TrainSettings(conditioning=ConditioningSettings(frozen_video=1.0))),
    "sound alone": (LoRASettings(rank=2), TrainSettings(audio_only=True)),
    "reference": (LoRASettings(rank=2), TrainSettings(), with_reference),
    "crepa": (LoRASettings(rank=2), TrainSettings(), with_crepa),
    "scheduled sampling, anti-drift": (LoRASettings(rank=2), TrainSettings(), rolled_out),
    "prior": (LoRASettings(rank=2), TrainSettings(), kept_as_the_base),
}


@pytest.mark.parametrize("name", CASES)
def test_in_float64_throughout(model, make_sample, name):
    lora, train, *change = CASES[name]
    with doubled(True):
        found = errors(model, [make_sample(0, frames=2), make_sample(1, frames=2)], lora, train, 2e-4, change=change[0] if change else unchanged, every=29)
    assert len(found) > 5 and max(error for _, error in found) <= 1e-6


def test_dora_s_magnitudes(model, make_sample):
    """The true derivative of a DoRA's magnitudes."""
    with doubled(True):
        found = errors(model, [make_sample(0, frames=2)], LoRASettings(rank=2, kind="dora"), TrainSettings(), 1e-4, only="magnitude")
    assert max(error for _, error in found) <= 1e-6


def test_all_of_a_dora_where_the_norm_is_held(model, make_sample, monkeypatch):
    """Its paper (4.3) takes the norm for constant in backward: the gradient of all parts is that of the loss with norms held."""
    from peft.tuners.lora.dora import DoraLinearLayer

    free, norms = DoraLinearLayer.get_weight_norm, {}

    def held(self, **given):
        if given["weight"].is_meta:  # while it is put in, without weights
            return free(self, **given)
        if id(self) not in norms:
            norms[id(self)] = free(self, **given).detach()
        return norms[id(self)]

    monkeypatch.setattr(DoraLinearLayer, "get_weight_norm", held)
    with doubled(True):
        found = errors(model, [make_sample(0, frames=2)], LoRASettings(rank=2, kind="dora"), TrainSettings(), 1e-4, every=29)
    assert norms and len(found) > 5 and max(error for _, error in found) <= 1e-6


@pytest.mark.parametrize("runner", [run_block, run_block_checkpointed])
def test_with_diffusers_own_casts_to_float32(model, make_sample, runner):
    """Rounded to float32 inside, a difference along next to nothing says nothing: parts of a tenth of the gradient and more."""
    with doubled(False):
        found = errors(model, [make_sample(0, frames=2), make_sample(1, frames=2)], *CASES["lora"], 4e-3, runner)
    compared = [error for share, error in found if share > 0.1]
    assert len(compared) >= 4 and max(compared) <= 1e-3
