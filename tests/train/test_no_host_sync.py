"""A step reads nothing back: it runs whole on the meta device, where no tensor has a value to read."""

from types import SimpleNamespace

import pytest
import torch

from ltx2core.train.batch import prepare
from ltx2core.train.crepa import CrepaSettings
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.optim import make_optimizer
from ltx2core.train.session import READ_EVERY, Session
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.step import EagerEngine
from ltx2core.train.targets import preset_modules


def test_the_meta_device_tells_a_host_sync():
    with pytest.raises(RuntimeError):
        torch.zeros((), device="meta").item()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("first_frame", [0.0, 1.0])
def test_forward_backward_and_update_without_values(checkpointing, first_frame, model, make_sample):
    """With our own AdamW; torch's reads its step count back everywhere but in its CUDA kernels."""
    settings = TrainSettings(optimizer="adamw_bf16", first_frame_probability=first_frame, max_grad_norm=1.0)
    inputs = prepare([make_sample(1), make_sample(2, audio=False)], 0, settings, torch.bfloat16)
    model.to("meta", torch.bfloat16)
    with injected(model, LoRASettings(rank=2), preset_modules("audio_video", 2), 0, torch.bfloat16) as lora:
        update = make_optimizer(lora.parameters.values(), settings)
        losses = EagerEngine(model, Objective.of(settings), torch.device("meta"), checkpointing)(inputs)
        update.set_rate(1e-4)
        norm = update.step()
        assert {losses.total.shape, losses.video.shape, losses.audio.shape, norm.shape} == {torch.Size([])}
        assert all(p.grad is not None and p.grad.shape == p.shape for p in lora.parameters.values())


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_bf16"])
def test_addresses_stay(optimizer, model, make_sample):
    """Parameters, gradients and optimizer state keep their memory, so that a captured graph may be replayed."""
    settings = TrainSettings(optimizer=optimizer)
    model.bfloat16()
    with injected(model, LoRASettings(rank=2), preset_modules("video", 2), 0, torch.bfloat16) as lora:
        update = make_optimizer(lora.parameters.values(), settings)
        engine = EagerEngine(model, Objective.of(settings), torch.device("cpu"), True)

        def addresses():
            return [p.data_ptr() for p in lora.parameters.values()] + [p.grad.data_ptr() for p in lora.parameters.values()] + [t.data_ptr() for t in update.state_dict().values()]

        before = addresses()
        for step in range(2):
            engine(prepare([make_sample(1)], step, settings, torch.bfloat16))
            update.set_rate(1e-4)
            update.step()
        assert addresses() == before


@pytest.mark.parametrize("device, threshold, every", [("cpu", 0.0, 1), ("cuda", 0.0, READ_EVERY), ("cuda", 0.5, 1)])
def test_a_threshold_looks_at_every_step(device, threshold, every):
    """On a card too, where losses are read some at a time: else the step at which it acts would depend on where the run was saved."""
    train = TrainSettings(crepa=CrepaSettings("x", similarity_threshold=threshold))
    session = SimpleNamespace(device=torch.device(device), crepa=object(), run=RunConfig(train=train))
    assert Session.read_every.fget(session) == every
