"""A base that is quantised while it is read: the same numbers as from a model in memory, and never a whole model in memory."""

import json

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.compare import relative_error
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.checkpoint.dequantize import quantised_layers
from ltx2core.checkpoint.header import CheckpointError
from ltx2core.cache.dataset import Sample
from ltx2core.memory.block_file import BlockFile
from ltx2core.memory.engine import FastEngine, MemorySettings, bring_own
from ltx2core.models.build import load_transformer
from ltx2core.tiny import save_combined, tiny_config, tiny_state, write_tiny_checkpoint
from ltx2core.tiny_gemma import _fp8, _nvfp4
from ltx2core.train.batch import prepare
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.settings import LoRASettings, TrainSettings
from ltx2core.train.targets import choose

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("m") / "tiny.safetensors"))


def inputs():
    generator = torch.Generator().manual_seed(1)
    make = lambda *s: torch.randn(*s, generator=generator).bfloat16()  # noqa: E731
    return prepare([Sample("0", make(128, 2, 2, 3), make(8, 9, 16), make(16, 64), make(16, 64), 25.0, "b")], 1, TrainSettings(), torch.float32)


def gradients(model, bring, settings, kind):
    with injected(model, LoRASettings(rank=4, kind=kind), choose("audio_video", 2, True).modules, 0, torch.float32) as lora:
        with torch.no_grad():
            for i, parameter in enumerate(lora.parameters.values()):
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(i))
        engine = FastEngine(model, Objective.of(TrainSettings()), CPU, settings, bring=bring)
        loss = engine(inputs()).total
        return loss, {n: p.grad.clone() for n, p in lora.parameters.items()}


@pytest.mark.parametrize("kind", ["lora", "lokr"])
@pytest.mark.parametrize("settings", [MemorySettings("int8", compiled=False), MemorySettings("fp8", streamed=2, compiled=False), MemorySettings(streamed=1, compiled=False)], ids=str)
def test_equals_a_model_in_memory_to_the_bit(file, settings, kind):
    loss, expected = gradients(load_transformer(file, dtype=torch.float32), bring_own, settings, kind)
    unread = BlockFile(file, torch.float32)
    ours, found = gradients(unread.model, unread.bring, settings, kind)
    assert torch.equal(ours, loss) and found.keys() == expected.keys()
    assert all(torch.equal(found[n], g) and g.any() for n, g in expected.items())


def test_blocks_have_no_memory_until_they_are_brought_and_again_after(file):
    unread = BlockFile(file, torch.float32)
    parameters = list(unread.model.transformer_blocks.parameters())
    assert sum(p.untyped_storage().nbytes() for p in parameters) == 4 * len(parameters)
    assert {n: p.shape for n, p in unread.model.named_parameters()} == {n: p.shape for n, p in load_transformer(file).named_parameters()}
    FastEngine(unread.model, Objective.of(TrainSettings()), CPU, MemorySettings("int8", compiled=False), bring=unread.bring)
    assert not any(p.numel() for p in parameters)


# As dev-fp8 has them, and the twelve linears a block that dev-fp4 has in 4 bits.
STORED = {
    "dev-fp8": (_fp8, ("attn1", "attn2", "audio_attn1", "audio_attn2", "ff", "audio_ff")),
    "dev-fp4": (_nvfp4, ("attn1", "attn2.to_q", "attn2.to_out", "audio_to_video_attn.to_q", "video_to_audio_attn.to_k", "ff")),
}  # fmt: skip


@pytest.mark.parametrize("settings", [MemorySettings("int8", compiled=False), MemorySettings(streamed=1, compiled=False)], ids=str)
@pytest.mark.parametrize("flavour", STORED)
def test_a_quantised_file_is_trained_on(tmp_path, flavour, settings):
    """The step on a file of small weights is the one on a plain file of the numbers that they stand for."""
    store, parts = STORED[flavour]
    state, numbers = {}, {}
    for key, weight in tiny_state().items():
        path = key.split("transformer_blocks.")[-1].split(".", 1)[-1]
        small = key.startswith("model.diffusion_model.transformer_blocks.") and weight.ndim == 2 and key.endswith(".weight") and path.startswith(parts)
        state |= store(key, weight) if small else {key: weight.bfloat16()}
    file = tmp_path / "small.safetensors"
    save_file(state, file, metadata={"config": json.dumps(tiny_config())})
    checkpoint = open_checkpoint(file)
    assert checkpoint.flavour == flavour and len(quantised_layers(checkpoint.header)) >= 2 * len(parts)
    keymap = checkpoint.family.components["transformer"]
    numbers = {keymap.to_file(n): p for n, p in load_transformer(checkpoint, dtype=torch.float32).state_dict().items()}
    plain = open_checkpoint(save_combined(tmp_path / "plain.safetensors", {**tiny_state(), **numbers}, tiny_config(), torch.float32))
    loss, expected = gradients(load_transformer(plain, dtype=torch.float32), bring_own, settings, "lora")
    unread = BlockFile(checkpoint, torch.float32)
    ours, found = gradients(unread.model, unread.bring, settings, "lora")
    assert torch.equal(ours, loss) and all(torch.equal(found[n], g) and g.any() for n, g in expected.items())
    rough = relative_error(numbers["model.diffusion_model.transformer_blocks.0.attn1.to_q.weight"], tiny_state()["model.diffusion_model.transformer_blocks.0.attn1.to_q.weight"])
    assert 0.01 < rough < 0.2


def test_a_missing_key_in_a_block_is_said_when_the_file_is_opened(tmp_path):
    state = tiny_state()
    key = "model.diffusion_model.transformer_blocks.1.attn1.to_q.weight"
    del state[key]
    with pytest.raises(CheckpointError, match=key.replace(".", r"\.")):
        BlockFile(open_checkpoint(save_combined(tmp_path / "a.safetensors", state, tiny_config())), torch.float32)
