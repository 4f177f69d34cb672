"""The base's blocks shared out over the cards by torch's FSDP2: each keeps its part, and a block is whole only while it runs.

The adapter stays whole everywhere: it is a hundredth of the base, its gradients are summed as without sharding, and its
state is saved as always. The base is frozen, so nothing of it is ever reduced or saved.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard

from ..errors import LTX2Error
from ..memory.engine import MemorySettings
from ..models.forward import run_block, run_block_checkpointed
from ..train.batch import StepInputs
from ..train.objective import Objective
from ..train.settings import RunConfig
from ..train.step import EngineFactory, StepLosses, training_step, velocities
from .world import World


def check_shardable(run: RunConfig, memory: MemorySettings | None) -> None:
    """Raises LTX2Error for what FSDP2 cannot do, with the way that can."""
    train = run.train
    reasons = (
        (memory is not None and memory.precision != "bf16", "splits a quantised block's codes from its scales", "choose distributed ddp: a base in 8 bits fits 24 GB whole"),
        (memory is not None and memory.streamed > 0, "keeps the blocks' parts on the cards and streaming keeps them in host memory", "choose one of the two"),
        (run.lora.kind == "dora", "leaves no card with the whole weights that a DoRA reads", "choose kind lora, or distributed ddp"),
        (train.rollout.max_step_offset > 0 or train.reflexflow is not None, "runs all processes in step, and scheduled sampling gives them unequal work", "choose distributed ddp"),
        (train.audio_only, "shards whole blocks, of which sound alone uses a part", "choose distributed ddp: sound alone needs little memory"),
    )  # fmt: skip
    for impossible, why, what in reasons:
        if impossible:
            raise LTX2Error(f"FSDP2 {why}; {what}.")


def base_mesh(device: torch.device, world: World) -> DeviceMesh:
    """Sharded inside a machine, where the links are fast, and repeated on each: frozen weights then never cross the network."""
    if world.size == world.local_size:
        return init_device_mesh(device.type, (world.size,))
    return init_device_mesh(device.type, (world.size // world.local_size, world.local_size), mesh_dim_names=("machines", "cards"))


class _Root(nn.Module):
    """FSDP2's root: its forward is whatever runs the blocks."""

    def __init__(self, blocks: nn.ModuleList):
        super().__init__()
        self.blocks = blocks

    def forward(self, work: Callable[[], Tensor]) -> Tensor:
        return work()


class ShardedEngine:
    """An engine of ``train.loop`` with autograd block by block; see :class:`~ltx2core.train.step.Engine`."""

    def __init__(self, model: nn.Module, objective: Objective, device: torch.device, checkpointing: bool, mesh: DeviceMesh):
        self._model, self._objective, self._device = model, objective, device
        self._runner = run_block_checkpointed if checkpointing else run_block
        adapter = {p for p in model.parameters() if p.requires_grad}
        for parameter in adapter:
            parameter.data = parameter.data.to(device)
        for block in model.transformer_blocks:
            fully_shard(block, mesh=mesh, ignored_params=adapter)
        self._root = fully_shard(_Root(model.transformer_blocks), mesh=mesh, ignored_params=adapter)

    def _losses(self, inputs: StepInputs, runner) -> tuple[Tensor, StepLosses]:
        found: list[StepLosses] = []

        def work() -> Tensor:
            found.append(training_step(self._model, inputs.to(self._device, non_blocking=True), self._objective, runner))
            return found[0].total

        return self._root(work), found[0]

    def __call__(self, inputs: StepInputs) -> StepLosses:
        total, losses = self._losses(inputs, self._runner)
        total.backward()
        return losses.detached()

    def evaluate(self, inputs: StepInputs) -> StepLosses:
        with torch.no_grad():
            return self._losses(inputs, run_block)[1]

    def predict(self, inputs: StepInputs) -> tuple[Tensor, Tensor]:
        found: list[tuple[Tensor, Tensor]] = []

        def work() -> Tensor:
            found.append(velocities(self._model, inputs.to(self._device), self._objective, run_block))
            return found[0][0]

        with torch.no_grad():
            self._root(work)
        return found[0]

    def plain_blocks(self) -> AbstractContextManager[None]:
        raise LTX2Error("A preview needs the whole base on one card and FSDP2 shards it; switch previews off, or choose distributed ddp.")


def sharded_engine(world: World) -> EngineFactory:
    def make(model: nn.Module, objective: Objective, device: torch.device, checkpointing: bool) -> ShardedEngine:
        return ShardedEngine(model, objective, device, checkpointing, base_mesh(device, world))

    return make
