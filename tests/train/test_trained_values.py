"""How many values an adapter trains, counted from shapes, against the parameters that peft and lycoris make."""

import pytest
import torch

from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.checkpoint.shapes import transformer_shapes
from ltx2core.errors import LTX2Error
from ltx2core.models.build import load_transformer
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.train.lora import injected
from ltx2core.train.settings import LoRASettings
from ltx2core.train.targets import PARTS, all_modules, preset_modules
from ltx2core.train.trained_values import trained_values

KINDS = {
    "lora": {}, "dora": {"kind": "dora"}, "loha": {"kind": "loha"}, "lokr": {"kind": "lokr"}, "lokr by 4": {"kind": "lokr", "factor": 4},
    "lokr by 3": {"kind": "lokr", "factor": 3}, "lokr by 64": {"kind": "lokr", "factor": 64},
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("values") / "tiny.safetensors"))


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_transformer(checkpoint, dtype=torch.float32)


@pytest.mark.parametrize("rank", [1, 8, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_and_set(kind, rank, checkpoint, model):
    settings, shapes, everything = LoRASettings(rank=rank, **KINDS[kind]), transformer_shapes(checkpoint), all_modules(2)
    with injected(model, settings, everything, 0, torch.float32) as lora:
        made = [(name, parameter.numel()) for name, parameter in lora.parameters.items()]
    for modules in (everything, *(preset_modules(name, 2) for name in PARTS)):
        inside = tuple(f"{m}." for m in modules)
        assert trained_values(settings, shapes, modules) == sum(count for name, count in made if name.startswith(inside))


def test_a_layer_that_the_model_lacks(checkpoint):
    with pytest.raises(LTX2Error, match="no linear layer transformer_blocks.9.attn1.to_q"):
        trained_values(LoRASettings(), transformer_shapes(checkpoint), ("transformer_blocks.9.attn1.to_q",))
