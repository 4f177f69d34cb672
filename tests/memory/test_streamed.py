"""Streamed blocks and the run for gradients alone, on the CPU."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.compare import worst_relative_error
from ltx2core.cache.dataset import Sample
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.memory.engine import FastEngine, MemorySettings
from ltx2core.memory.host import SMALLEST_PIECE, HostBlock, piece_sizes
from ltx2core.memory.linears import LAST_LAYERS, for_gradients
from ltx2core.memory.stores import RingStore
from ltx2core.models.build import load_transformer
from ltx2core.tiny import TinySize, write_tiny_checkpoint
from ltx2core.train.batch import prepare
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.settings import LoRASettings, TrainSettings
from ltx2core.train.step import EagerEngine
from ltx2core.train.targets import choose
from ltx2core.train.tread import TreadRoute

CPU, LAYERS = torch.device("cpu"), 4


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("m") / "tiny.safetensors", TinySize(layers=LAYERS)))


def step_inputs(train, seed):
    generator = torch.Generator().manual_seed(seed)
    make = lambda *s: torch.randn(*s, generator=generator).bfloat16()  # noqa: E731
    return prepare([Sample(str(i), make(128, 2, 2, 3), make(8, 9, 16), make(16, 64), make(16, 64), 25.0, "b") for i in range(2)], seed, train, torch.float32)


def results(file, make, train, targets="audio_video", kind="lora"):
    model, found = load_transformer(file, dtype=torch.float32), []
    modules = choose(targets, LAYERS, True).modules
    with injected(model, LoRASettings(rank=4, alpha=4, kind=kind), modules, 0, torch.float32) as lora:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        engine = make(model, Objective.of(train))
        for seed in (1, 2):
            for parameter in lora.parameters.values():
                parameter.grad = None
            loss = engine(step_inputs(train, seed)).total
            found.append((loss, {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in lora.parameters.items()}))
    return found


CASES = {
    "audio_video": TrainSettings(),
    "first_frame": TrainSettings(first_frame_probability=1.0),
    "tread": TrainSettings(tread=(TreadRoute(0.5, 1, -2),)),
    "video": TrainSettings(audio_weight=0.0),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("memory", [{"streamed": LAYERS, "slots": 2}, {"streamed": 2, "kept": 2}], ids=str)
def test_streamed_step_equals_the_plain_one(file, memory, case):
    train = CASES[case]
    plain = results(file, lambda m, o: EagerEngine(m, o, CPU, True), train)
    ours = results(file, lambda m, o: FastEngine(m, o, CPU, MemorySettings(**memory, compiled=False, captured=False)), train)
    for (loss, gradients), (expected, truth) in zip(ours, plain, strict=True):
        assert abs(loss - expected) <= 1e-5 * expected
        assert worst_relative_error(gradients, truth) <= 1e-5


SOME = ("transformer_blocks.1.attn1.to_q", "transformer_blocks.2.ff.net.2", "transformer_blocks.2.attn2.*")


@pytest.mark.parametrize(
    ("kind", "memory"),
    [("dora", {}), ("dora", {"kept": 2}), ("lokr", {"kept": 1}), ("lokr", {"streamed": LAYERS, "slots": 2}), ("lora", {"streamed": 2, "kept": 1}),
     ("lora", {"precision": "int8", "streamed": 3})], ids=str,
)  # fmt: skip
def test_blocks_that_are_not_alike(file, kind, memory):
    """Adapters on some layers of some blocks: a store has one layout for all, and each block's code is of its own kind."""
    train, settings = TrainSettings(), MemorySettings(**memory, fused=False, compiled=False, captured=False)
    written_out = MemorySettings("int8", compiled=False, captured=False)
    make = (lambda m, o: FastEngine(m, o, CPU, written_out)) if "precision" in memory else lambda m, o: EagerEngine(m, o, CPU, True)
    plain = results(file, make, train, SOME, kind)
    ours = results(file, lambda m, o: FastEngine(m, o, CPU, settings), train, SOME, kind)
    for (loss, gradients), (expected, truth) in zip(ours, plain, strict=True):
        assert abs(loss - expected) <= 1e-5 * expected
        assert any(t.any() for t in truth.values()) and worst_relative_error(gradients, truth) <= 1e-5


@pytest.mark.parametrize(("targets", "kind"), [("all_linear", "lora"), ("all_linear", "dora"), ("video_ff", "lokr")])
def test_adapters_on_the_last_layers_get_right_gradients(file, targets, kind):
    train = TrainSettings()
    plain = results(file, lambda m, o: EagerEngine(m, o, CPU, True), train, targets, kind)
    ours = results(file, lambda m, o: FastEngine(m, o, CPU, MemorySettings(compiled=False, captured=False)), train, targets, kind)
    for (_, gradients), (_, truth) in zip(ours, plain, strict=True):
        assert worst_relative_error(gradients, truth) <= 1e-5


def test_the_run_for_gradients_leaves_the_last_products_out(file):
    block = load_transformer(file, dtype=torch.float32).transformer_blocks[0]
    layers = [(block.get_submodule(n), for_gradients(block).get_submodule(n)) for n in LAST_LAYERS]
    for layer, twin in layers:
        assert twin.weight is layer.weight
        x = torch.randn(7, layer.in_features, requires_grad=True)
        with FlopCounterMode(display=False) as counted:
            out = twin(x)
        towards = torch.randn_like(out)
        (ours,), (truth,) = torch.autograd.grad(out, x, towards), torch.autograd.grad(layer(x), x, towards)
        assert counted.get_total_flops() == 0 and out.shape == (7, layer.out_features)
        assert torch.allclose(ours, truth, rtol=1e-6)


def test_a_slot_is_never_overwritten_while_its_block_is_wanted():
    blocks = 7
    for slots in (2, 3, 4):
        for resident in ((), (6,), (0, 3)):
            store = RingStore([{"w": torch.full((3,), float(i))} for i in range(blocks)], CPU, slots, resident)
            there_and_back = [*range(blocks), *reversed(range(blocks))]
            for place, index in enumerate(there_and_back):
                tensors = store.acquire(index, list(dict.fromkeys(there_and_back[place + 1 :])))
                assert (tensors["w"] == index).all()
                store.release(index)


def test_pieces_of_host_memory_are_powers_of_two_without_waste():
    for nbytes in (1, SMALLEST_PIECE, SMALLEST_PIECE + 1, 804 * 2**20 + 12345, 2**30):
        sizes = piece_sizes(nbytes)
        assert all(size & (size - 1) == 0 for size in sizes) and list(sizes) == sorted(sizes, reverse=True)
        assert 0 <= sum(sizes) - nbytes < SMALLEST_PIECE


def test_a_block_comes_back_from_host_memory():
    flat = torch.randint(0, 256, (1000,), dtype=torch.uint8)
    host, back = HostBlock(flat, pinned=False), torch.zeros_like(flat)
    flat_before = flat.clone()
    flat.zero_()
    host.copy_to(back)
    assert torch.equal(back, flat_before)
