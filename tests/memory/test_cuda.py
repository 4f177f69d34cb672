"""Streamed, quantised and captured steps on a card equal the plain step; a run leaves nothing behind."""

import pytest
import torch

from benchmarks.compare import worst_relative_error
from ltx2core.cache.dataset import CachedClip, DatasetCache, Sample
from ltx2core.cache.store import Store
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.memory.engine import FastEngine, MemorySettings
from ltx2core.memory.quantize import dequantised, quantise_block
from ltx2core.memory.training import train_lora
from ltx2core.models.build import load_transformer
from ltx2core.models.handle import Models
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.tiny import TinySize, write_tiny_checkpoint
from ltx2core.train.batch import prepare
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.optim import make_optimizer
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.step import EagerEngine
from ltx2core.train.targets import choose

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
CARD, LAYERS = torch.device("cuda"), 6


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("m") / "tiny.safetensors", TinySize(layers=LAYERS)))


def batch(seed, first_frame=0.0):
    generator = torch.Generator().manual_seed(seed)
    make = lambda *s: torch.randn(*s, generator=generator).bfloat16()  # noqa: E731
    samples = [Sample(str(i), make(128, 2, 2, 3), make(8, 9, 16), make(16, 64), make(16, 64), 25.0, "b") for i in range(2)]
    return prepare(samples, seed, TrainSettings(first_frame_probability=first_frame), torch.float32)


def gradients_of(model, make_engine, inputs, dropout=0.0):
    """(losses, gradients) of two different batches in turn, as a captured graph must serve both; each with its masks."""
    train, results = TrainSettings(), []
    with injected(model, LoRASettings(rank=4, alpha=4, dropout=dropout), choose("audio_video", LAYERS, True).modules, 0, torch.float32) as lora:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        engine = make_engine(model, Objective.of(train))
        make_optimizer(lora.parameters.values(), train)
        for number, step in enumerate(inputs):
            lora.draw_masks(number, 0)
            for parameter in lora.parameters.values():
                parameter.grad.zero_()
            losses = engine(step)
            torch.cuda.synchronize()
            results.append((losses.total.item(), {n: p.grad.clone().cpu() for n, p in lora.parameters.items()}))
    return results


@pytest.mark.parametrize(
    "settings",
    [
        MemorySettings(compiled=False, captured=False), MemorySettings(compiled=False), MemorySettings(kept=3, compiled=False),
        MemorySettings(streamed=LAYERS, compiled=False, captured=False), MemorySettings(streamed=4, slots=2, compiled=False, captured=False),
        MemorySettings("int8", compiled=False), MemorySettings("int8", streamed=LAYERS, compiled=False, captured=False), MemorySettings("fp8"),
    ],
    ids=str,
)  # fmt: skip
def test_equals_the_plain_step(file, settings):
    rounded = load_transformer(file, dtype=torch.float32)
    if settings.precision != "bf16":
        with torch.no_grad():
            for block in rounded.transformer_blocks:
                for parameter in block.parameters():
                    parameter.requires_grad_(False)
                for name, weight in dequantised(quantise_block(block, settings.precision), torch.float32).items():
                    block.get_parameter(name).copy_(weight)
    inputs = [batch(1), batch(2), batch(3, 1.0), batch(1)]
    expected = gradients_of(rounded.to(CARD), lambda m, o: EagerEngine(m, o, CARD, True), inputs)
    model = load_transformer(file, dtype=torch.float32).to(CARD)
    ours = gradients_of(model, lambda m, o: FastEngine(m, o, CARD, settings), inputs)
    for (loss, gradients), (plain, truth) in zip(ours, expected, strict=True):
        assert abs(loss - plain) <= 1e-4 * plain
        assert worst_relative_error(gradients, truth) <= 1e-3


DROPPING = [
    MemorySettings(), MemorySettings(kept=3), MemorySettings("int8", kept=LAYERS), MemorySettings("int8", streamed=LAYERS), MemorySettings("fp8", hosted="results"),
    MemorySettings(compiled=False, fused=False), MemorySettings(fused=False), MemorySettings(kept=3, fused=False), MemorySettings(kept=LAYERS, fused=False),
    MemorySettings("int8", fused=False), MemorySettings("int8", streamed=LAYERS, fused=False),
]  # fmt: skip


@pytest.mark.parametrize("settings", DROPPING, ids=str)
def test_captured_with_dropout_equals_the_same_base_eager(file, settings):
    """One batch three times: a graph that is replayed leaves out others each time, and what is computed again the same."""
    inputs, plain = [batch(1)] * 3, MemorySettings(settings.precision, kept=LAYERS, compiled=False, captured=False, fused=False)
    expected, ours = (
        gradients_of(load_transformer(file, dtype=torch.float32).to(CARD), lambda m, o, s=s: FastEngine(m, o, CARD, s), inputs, 0.3)
        for s in (plain, settings)
    )  # fmt: skip
    for (loss, gradients), (truth, theirs) in zip(ours, expected, strict=True):
        assert abs(loss - truth) <= 1e-4 * truth
        assert worst_relative_error(gradients, theirs) <= 1e-3
    losses = [loss for loss, _ in ours]
    assert min(abs(a - b) for a, b in ((losses[0], losses[1]), (losses[1], losses[2]))) > 1e-4 * losses[0]


def left_on_the_card():
    """Bytes, without the matrix library's work space of 32 MiB for every stream that ever ran a product."""
    torch.cuda.synchronize()
    torch._C._cuda_clearCublasWorkspaces()
    return torch.cuda.memory_allocated()


@pytest.mark.parametrize("memory", [None, MemorySettings("int8", streamed=LAYERS, captured=False), MemorySettings("int8")], ids=str)
def test_a_run_trains_and_leaves_nothing_on_the_card(file, tmp_path, memory):
    store, clips = Store(tmp_path / "cache"), []
    for i in range(3):
        generator = torch.Generator().manual_seed(i)
        make = lambda *s: torch.randn(*s, generator=generator).bfloat16()  # noqa: E731, B023
        store.write("latents", f"{i:064x}", {"video": make(128, 2, 2, 3), "audio": make(8, 9, 16)}, {})
        store.write("text", f"{i:064x}", {"video": make(16, 64), "audio": make(16, 64)}, {})
        clips.append(CachedClip(f"{i}.mp4", f"{i:064x}", f"{i:064x}", 96, 64, 9, 25.0, True))
    cache = DatasetCache(tmp_path / "cache", "2.0", tuple(clips), "0" * 64)
    models, before = Models(file, torch.bfloat16), left_on_the_card()
    result = train_lora(
        models, RunConfig(train=TrainSettings(steps=30, warmup=2, learning_rate=3e-3, validation_clips=3, validate_every=0)), cache, directory=tmp_path / "run",
        name="a", residency=PlainResidency(CARD), reporter=ConsoleReporter(quiet=True), stop=StopFlag(), memory=memory,
    )  # fmt: skip
    assert result.validation[-1].video < result.validation[0].video
    del result
    models.drop("transformer")
    assert left_on_the_card() - before < 8 * 2**20
