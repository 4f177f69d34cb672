"""A plan told in parts: nothing is counted twice or lost, and the adapter's part is what tensors of its size take."""

import dataclasses

import pytest
import torch

from ltx2core.memory.engine import MemorySettings
from ltx2core.memory.plan import BaseSize, Load, predict

SIZE = BaseSize(blocks=48, block=700_000_000, quantisable=650_000_000, rest=900_000_000)


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_bf16"])
@pytest.mark.parametrize("settings", [MemorySettings(), MemorySettings("int8", streamed=48)])
def test_parts_are_the_whole(optimizer, settings):
    plan = predict(SIZE, Load(tokens=5000, samples=1, trained=1_000_000, optimizer=optimizer), settings)
    told = plan.told(80 * 2**30)
    assert told.weights + told.adapter + told.optimizer + told.activations == plan.total
    assert all(v > 0 for v in dataclasses.astuple(told)[:5]) and told.device == 80 * 2**30 and str(plan) in told.text


def test_the_adapter_is_its_values_and_gradients():
    weight = torch.nn.Parameter(torch.zeros(1000, 1000, dtype=torch.bfloat16))
    weight.sum().backward()
    taken = sum(t.numel() * t.element_size() for t in (weight, weight.grad))
    assert predict(SIZE, Load(tokens=1, samples=1, trained=weight.numel()), MemorySettings()).adapter == taken
