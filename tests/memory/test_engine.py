"""Each faster path computes the plain one's losses and gradients, in float32 on the CPU."""

from importlib.util import find_spec

import pytest
import torch

from benchmarks.compare import relative_error, worst_relative_error
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.cache.dataset import Sample
from ltx2core.fused.groups import layouts_of
from ltx2core.fused.weights import packed
from ltx2core.memory.engine import FastEngine, MemorySettings
from ltx2core.memory.quantize import FORMATS, dequantised, quantise, quantise_block
from ltx2core.memory.stores import ResidentStore
from ltx2core.models.build import load_transformer
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.train.batch import prepare
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.settings import LoRASettings, TrainSettings
from ltx2core.train.step import EagerEngine
from ltx2core.train.targets import choose

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("m") / "tiny.safetensors"))


def samples(sound=True):
    generator = torch.Generator().manual_seed(torch.seed() % 2**31)
    make = lambda *shape: torch.randn(*shape, generator=generator).bfloat16()  # noqa: E731
    return [Sample(str(i), make(128, 2, 2, 3), make(8, 9, 16) if sound else None, make(16, 64), make(16, 64), 25.0, "b") for i in range(2)]


def losses_and_gradients(engine, lora, inputs):
    for p in lora.parameters.values():
        p.grad = None
    losses = engine(inputs)
    return losses, {n: p.grad.clone() for n, p in lora.parameters.items()}


@pytest.mark.parametrize("form", ["fused", "inputs", "results", "compiled"])
@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("case", ["audio_video", "silent", "first_frame"])
def test_equals_the_plain_step(file, kept, case, form):
    model = load_transformer(file, dtype=torch.float32)
    train = TrainSettings(first_frame_probability=1.0 if case == "first_frame" else 0.0)
    with injected(model, LoRASettings(rank=4, alpha=4), choose("audio_video", 2, True).modules, 0, torch.float32) as lora:
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.normal_(0, 0.1)
        inputs = prepare(samples(case != "silent"), 3, train, torch.float32)
        plain, expected = losses_and_gradients(EagerEngine(model, Objective.of(train), CPU, True), lora, inputs)
        engine = FastEngine(model, Objective.of(train), CPU, MemorySettings(kept=kept, compiled=False, fused=form != "compiled", hosted=form if form in ("inputs", "results") else ""))
        ours, gradients = losses_and_gradients(engine, lora, inputs)
        assert abs(ours.total - plain.total) <= 1e-5 * plain.total
        assert worst_relative_error(gradients, expected) <= 1e-5
        assert torch.allclose(engine.evaluate(inputs).total, plain.total, rtol=1e-5)


BEFORE = ("patchify_proj", "audio_patchify_proj", "caption_projection.*", "audio_caption_projection.*", "adaln_single.*", "av_ca_*")


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("targets", [BEFORE, ("audio_patchify_proj", "*.attn1.to_q", "*.ff.net.2"), ("adaln_single.linear", "*.audio_ff.*")], ids=lambda t: t[0])
def test_adapters_before_the_blocks_learn_too(file, kept, targets):
    """What they change is read by all blocks, gates too, whose gradients hang on all of a block's results."""
    model, train = load_transformer(file, dtype=torch.float32), TrainSettings(first_frame_probability=1.0)
    with injected(model, LoRASettings(rank=4, alpha=4, targets=targets), choose(targets, 2, True).modules, 0, torch.float32) as lora:
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.normal_(0, 0.1)
        inputs = prepare(samples(), 3, train, torch.float32)
        plain, expected = losses_and_gradients(EagerEngine(model, Objective.of(train), CPU, True), lora, inputs)
        ours, gradients = losses_and_gradients(FastEngine(model, Objective.of(train), CPU, MemorySettings(kept=kept, compiled=False)), lora, inputs)
        assert abs(ours.total - plain.total) <= 1e-5 * plain.total
        assert worst_relative_error(gradients, expected) <= 1e-5


@pytest.mark.parametrize(("kind", "fused"), [("lora", True), ("lora", False), ("dora", True)])
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_what_is_computed_again_drops_the_same_values(file, kept, kind, fused):
    """Against plain autograd, which computes nothing again; in a second pass others are left out."""
    model, train = load_transformer(file, dtype=torch.float32), TrainSettings()
    with injected(model, LoRASettings(rank=4, alpha=4, dropout=0.3, kind=kind), choose("audio_video", 2, True).modules, 0, torch.float32) as lora:
        with torch.no_grad():
            generator = torch.Generator().manual_seed(5)
            for name, parameter in lora.parameters.items():
                if "lora_" in name:
                    parameter.normal_(0, 0.1, generator=generator)
        inputs, totals, passes = prepare(samples(), 3, train, torch.float32), [], []
        engines = EagerEngine(model, Objective.of(train), CPU, False), FastEngine(model, Objective.of(train), CPU, MemorySettings(kept=kept, compiled=False, fused=fused))
        for number in range(2):
            lora.draw_masks(number, 0)
            (plain, expected), (ours, gradients) = (losses_and_gradients(engine, lora, inputs) for engine in engines)
            assert abs(ours.total - plain.total) <= 1e-5 * plain.total
            assert worst_relative_error(gradients, expected) <= 1e-5
            totals.append(plain.total)
            passes.append(torch.cat([g.flatten() for g in gradients.values()]))
        assert abs(totals[0] - totals[1]) > 1e-4 * totals[0]
        assert relative_error(*passes) > 0.1
        model.eval()
        assert torch.allclose(engines[1].evaluate(inputs).total, engines[0].evaluate(inputs).total, rtol=1e-5)


QUANTO = pytest.mark.skipif(find_spec("optimum") is None, reason="needs optimum-quanto")
KINDS = [*FORMATS, "int8-torchao", "fp8-torchao", pytest.param("int8-quanto", marks=QUANTO)]


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_step_equals_the_plain_step_on_the_rounded_weights(file, kind):
    model, rounded = load_transformer(file, dtype=torch.float32), load_transformer(file, dtype=torch.float32)
    with torch.no_grad():
        for block in rounded.transformer_blocks:
            for name, weight in dequantised(quantise_block(block, kind), torch.float32).items():
                block.get_parameter(name).copy_(weight)
    train, results = TrainSettings(), []
    inputs = prepare(samples(), 3, train, torch.float32)
    for m, make in ((rounded, lambda m: EagerEngine(m, Objective.of(train), CPU, True)), (model, lambda m: FastEngine(m, Objective.of(train), CPU, MemorySettings(kind, compiled=False)))):
        for p in m.parameters():
            p.requires_grad_(False)
        with injected(m, LoRASettings(rank=4, alpha=4), choose("audio_video", 2, True).modules, 0, torch.float32) as lora:
            generator = torch.Generator().manual_seed(5)
            with torch.no_grad():
                for parameter in lora.parameters.values():
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
            results.append(losses_and_gradients(make(m), lora, inputs))
    (plain, expected), (ours, gradients) = results
    assert abs(ours.total - plain.total) <= 1e-5 * plain.total
    assert worst_relative_error(gradients, expected) <= 1e-5


@pytest.mark.parametrize("kind", [k for k in KINDS if "fp8" not in str(k)])
def test_rounding_error_is_at_most_half_a_step(kind):
    weight = torch.randn(64, 96)
    error = (quantise(weight, kind).dequantise(torch.float32) - weight).abs()
    # Half a step of 1/127 of a row's largest weight, and the bfloat16 scale's own 2^-8.
    assert (error <= weight.abs().amax(1, keepdim=True) * (0.5 / 127 + 2**-8)).all()


def test_layers_in_8_bits_and_layers_in_high_precision_are_these(file):
    """Written out for a block of the 19B model, whose names the tiny one has; stored plainly and packed alike."""
    block = load_transformer(file, dtype=torch.float32).transformer_blocks[0]
    attentions = ("attn1", "audio_attn1", "attn2", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn")
    small = {f"{a}.{layer}.weight" for a in attentions for layer in ("to_q", "to_k", "to_v", "to_out.0")}
    small |= {f"{net}.{layer}.weight" for net in ("ff", "audio_ff") for layer in ("net.0.proj", "net.2")}
    kept = {f"{a}.norm_{x}.weight" for a in attentions for x in "qk"} | {name.replace(".weight", ".bias") for name in small}
    kept |= {"scale_shift_table", "audio_scale_shift_table", "video_a2v_cross_attn_scale_shift_table", "audio_a2v_cross_attn_scale_shift_table"}
    assert small | kept == {n for n, _ in block.named_parameters()}
    tensors = quantise_block(block, "int8")
    assert {n for n, t in tensors.items() if t.dtype == torch.int8} == small
    layouts = layouts_of([block], [{}])
    stored = packed(block, layouts, "int8")
    assert {n for n, t in stored.items() if t.dtype == torch.int8} == set(layouts)
    assert sum(t.numel() for t in stored.values() if t.dtype == torch.int8) == sum(block.get_parameter(n).numel() for n in small)
    assert all(torch.equal(tensors[n], block.get_parameter(n)) for n in kept)


def test_resident_store_hands_out_what_it_was_given():
    blocks = [{"w": torch.ones(2)}, {"w": torch.zeros(2)}]
    assert ResidentStore(blocks).acquire(1, [])["w"] is blocks[1]["w"]
