"""The written-out block against diffusers' block under autograd, in double precision."""

import pytest
import torch

from benchmarks.compare import worst_relative_error
from ltx2core.cache.dataset import Sample
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.fused import linear
from ltx2core.fused.groups import adapters_of, layouts_of
from ltx2core.fused.runner import FusedModel, FusedRunner
from ltx2core.fused.shelf import Shelf
from ltx2core.fused.weights import packed, unpack, unpacked, use_packed
from ltx2core.memory.stores import ResidentStore
from ltx2core.models.build import load_transformer
from ltx2core.models.forward import run_block
from ltx2core.tiny import TinySize, write_tiny_checkpoint
from ltx2core.train.batch import prepare
from ltx2core.train.flat import FlatParameters
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.settings import LoRASettings, TrainSettings
from ltx2core.train.step import training_step
from ltx2core.train.targets import choose
from ltx2core.train.tread import TreadRoute

CPU, LAYERS = torch.device("cpu"), 3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    file = open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("m") / "tiny.safetensors", TinySize(layers=LAYERS)))
    return load_transformer(file, dtype=torch.float64)


def samples(seed):
    generator = torch.Generator().manual_seed(seed)
    make = lambda *s: torch.randn(*s, generator=generator).bfloat16()  # noqa: E731
    return [Sample(str(i), make(128, 2, 2, 3), make(8, 9, 16), make(16, 64), make(16, 64), 25.0, "b") for i in range(2)]


def loss_and_gradients(model, lora, inputs, objective, runner):
    for parameter in lora.parameters.values():
        parameter.grad = None
    loss = training_step(model, inputs, objective, runner).total
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in lora.parameters.items() if p.grad is not None}


def fused(model, kept=0, shelf=None):
    blocks = list(model.transformer_blocks)
    adapters = [adapters_of(b) for b in blocks]
    layouts = layouts_of(blocks, adapters)
    store = ResidentStore([packed(b, layouts, "bf16") for b in blocks])
    return FusedRunner(FusedModel.of(blocks[0], store, layouts, adapters, True, CPU), kept, shelf)


CASES = {
    "plain": TrainSettings(), "first_frame": TrainSettings(first_frame_probability=1.0), "sound_counts_nothing": TrainSettings(audio_weight=0.0),
    "route": TrainSettings(tread=(TreadRoute(0.5, 1, 1),)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("targets", ["audio_video", "all_linear", "video", "audio", ["transformer_blocks.1.attn1.to_k", "transformer_blocks.2.ff.*"]], ids=str)
def test_loss_and_gradients(model, targets, case):
    train = CASES[case]
    chosen = choose(targets if isinstance(targets, str) else tuple(targets), LAYERS, True).modules
    settings = LoRASettings(rank=4, alpha=2, targets=targets if isinstance(targets, str) else tuple(targets))
    inputs, objective = prepare(samples(3), 3, train, torch.float64), Objective.of(train)
    with injected(model, settings, chosen, 0, torch.float64) as lora:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        loss, expected = loss_and_gradients(model, lora, inputs, objective, run_block)
        for runner in (fused(model), fused(model, kept=1), fused(model, shelf=Shelf(CPU, LAYERS)), fused(model, 1, Shelf(CPU, LAYERS - 1, False))):
            ours, found = loss_and_gradients(model, lora, inputs, objective, runner)
            # diffusers turns by float32 tables and casts to float32 in between.
            assert abs(ours / loss - 1) <= 1e-5
            # Autograd leaves out what the loss does not hang on; here it is there and zero.
            assert found.keys() >= expected.keys() and not any(found[n].any() for n in found.keys() - expected.keys())
            assert worst_relative_error(found, expected) <= 1e-5


@pytest.mark.parametrize("targets", ["audio_video", "all_linear", ["transformer_blocks.*.attn1.to_k", "transformer_blocks.2.ff.*"]], ids=str)
def test_with_dropout(model, targets):
    """Each pass drops what diffusers' blocks under autograd drop, computed again or kept, and nothing outside training."""
    targets = targets if isinstance(targets, str) else tuple(targets)
    settings, train = LoRASettings(rank=4, alpha=2, targets=targets, dropout=0.3), TrainSettings(tread=(TreadRoute(0.5, 1, 1),))
    inputs, objective = prepare(samples(3), 3, train, torch.float64), Objective.of(train)
    with injected(model, settings, choose(targets, LAYERS, True).modules, 0, torch.float64) as lora:
        generator, losses = torch.Generator().manual_seed(5), []
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        runners = fused(model), fused(model, kept=1), fused(model, 1, Shelf(CPU, LAYERS - 1))
        for step in range(2):
            lora.draw_masks(step)
            loss, expected = loss_and_gradients(model, lora, inputs, objective, run_block)
            losses.append(loss)
            for runner in runners:
                ours, found = loss_and_gradients(model, lora, inputs, objective, runner)
                assert abs(ours / loss - 1) <= 1e-5
                assert worst_relative_error({n: found[n] for n in expected}, expected) <= 1e-5
        model.eval()
        whole = [loss_and_gradients(model, lora, inputs, objective, run)[0] for run in (run_block, *runners)]
        assert all(abs(ours / whole[0] - 1) <= 1e-5 for ours in whole)
        assert len({f"{value:.6f}" for value in (*losses, whole[0])}) == 3  # else nothing was dropped


@pytest.mark.parametrize("targets", ["audio_video", ["transformer_blocks.*.attn1.to_k", "transformer_blocks.*.attn1.to_v", "transformer_blocks.1.attn2.*"]], ids=str)
def test_gradients_in_one_piece_of_memory_are_the_same_ones_added_twice(model, targets, monkeypatch):
    """As the optimizers lay them: members of one size then get theirs from one batched product, others one by one."""
    targets = targets if isinstance(targets, str) else tuple(targets)
    settings, train = LoRASettings(rank=8, alpha=4, targets=targets), TrainSettings()
    inputs, objective = prepare(samples(4), 4, train, torch.float64), Objective.of(train)
    with injected(model, settings, choose(targets, LAYERS, True).modules, 0, torch.float64) as lora:
        generator = torch.Generator().manual_seed(6)
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        _, expected = loss_and_gradients(model, lora, inputs, objective, run_block)
        at_once, batched = [], linear.PackedLinear._members_at_once
        monkeypatch.setattr(linear.PackedLinear, "_members_at_once", lambda *a: at_once.append(batched(*a)) or at_once[-1])
        flat = FlatParameters(lora.parameters.values())
        runner, before = fused(model, kept=1), [p.grad.data_ptr() for p in lora.parameters.values()]
        for _ in range(2):  # as two batches of one optimizer step
            training_step(model, inputs, objective, runner).total.backward()
        assert set(at_once) == {True, False} and before == [p.grad.data_ptr() for p in lora.parameters.values()] and flat.gradients.any()
        assert worst_relative_error({n: lora.parameters[n].grad / 2 for n in expected}, expected) <= 1e-5


def test_packed_weights_are_the_models_own_and_come_back(model):
    before = {n: p.clone() for n, p in model.transformer_blocks[0].named_parameters()}
    block = model.transformer_blocks[0]
    layouts = layouts_of([block], [{}])
    for precision, most in (("bf16", 0.0), ("int8", 0.02)):
        tensors = packed(block, layouts, precision)
        plain = unpacked(block, layouts, tensors, torch.float64)
        assert plain.keys() == before.keys()
        assert worst_relative_error(plain, before) <= most
    tensors = packed(block, layouts, "bf16")
    use_packed(block, layouts, tensors)
    tensors["attn1.qkv"].zero_()
    assert not block.attn1.to_k.weight.any()  # one copy
    unpack(block)
    assert block.attn1.to_k.weight.is_contiguous() and torch.equal(block.attn2.to_k.weight, before["attn2.to_k.weight"])
    with torch.no_grad():
        for name in ("to_q", "to_k", "to_v"):
            getattr(block.attn1, name).weight.copy_(before[f"attn1.{name}.weight"])
