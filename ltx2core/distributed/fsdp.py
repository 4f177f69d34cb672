"""The base's blocks shared out over the cards by torch's FSDP2: each keeps its part, and a block is whole only while it runs.

FSDP2 holds the weights in the form in which the fast engine stores them, 8-bit codes and their scales too, and the engine
asks it for one block after another. The adapter stays whole everywhere: it is a hundredth of the base, its gradients are
summed as without sharding, and its state is saved as always. The base is frozen, so nothing of it is reduced or saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils._triton import has_triton

from ..errors import LTX2Error
from ..memory.engine import Bring, FastEngine, MemorySettings, bring_own
from ..memory.stores import Tensors
from ..train.objective import Objective
from ..train.settings import RunConfig
from ..train.step import EngineFactory
from .world import World


def check_shardable(run: RunConfig, memory: MemorySettings | None) -> None:
    """Raises LTX2Error for what FSDP2 cannot do, with the way that can."""
    train = run.train
    reasons = (
        (memory is not None and memory.streamed > 0, "FSDP2 keeps the blocks' parts on the cards and streaming keeps them in host memory; choose one of the two."),
        (not train.gradient_checkpointing or (memory is not None and memory.kept > 0), "FSDP2 recomputes every block, since kept activations hold on to gathered weights; leave gradient_checkpointing on and kept at 0."),
        (run.lora.kind == "dora", "FSDP2 leaves no card with the whole weights that a DoRA reads; choose kind lora, or distributed ddp."),
        (train.rollout.max_step_offset > 0 or train.reflexflow is not None, "FSDP2 runs all processes in step, and scheduled sampling gives them unequal work; choose distributed ddp."),
        (train.audio_only, "FSDP2 shards whole blocks, of which sound alone uses a part; choose distributed ddp: sound alone needs little memory."),
    )  # fmt: skip
    for impossible, why in reasons:
        if impossible:
            raise LTX2Error(why)


def base_mesh(device: torch.device, world: World) -> DeviceMesh:
    """Sharded inside a machine, where the links are fast, and repeated on each: frozen weights then never cross the network."""
    if world.size == world.local_size:
        return init_device_mesh(device.type, (world.size,))
    return init_device_mesh(device.type, (world.size // world.local_size, world.local_size), mesh_dim_names=("machines", "cards"))


class _Block(nn.Module):
    """A block's stored tensors as frozen parameters, which FSDP2 can shard."""

    def __init__(self, tensors: Tensors):
        super().__init__()
        self.places = {name: (f"stored{i}", tensor.shape) for i, (name, tensor) in enumerate(tensors.items())}
        for (place, _), tensor in zip(self.places.values(), tensors.values(), strict=True):
            # FSDP2 knows no scalars.
            self.register_parameter(place, nn.Parameter(tensor.reshape(-1) if tensor.ndim == 0 else tensor, requires_grad=False))

    def tensors(self) -> Tensors:
        return {name: getattr(self, place).detach().view(shape) for name, (place, shape) in self.places.items()}


class ShardedStore:
    """A :class:`~ltx2core.memory.stores.WeightStore`: a block is gathered when it is asked for, the next one meanwhile.

    All processes of ``world`` ask for the same blocks in the same order.

    Raises:
        PeerLost: another process is gone; of what torch waits for by itself, no other sign comes.
    """

    def __init__(self, blocks: Iterable[Tensors], mesh: DeviceMesh, world: World):
        self._world, self._groups = world, mesh.get_all_groups()
        with self._together():
            self._blocks = [fully_shard(_Block(tensors), mesh=mesh, reshard_after_forward=True) for tensors in blocks]
        self._coming = {}

    def _together(self) -> AbstractContextManager[None]:
        return self._world.together(*self._groups)

    def _ask(self, index: int) -> None:
        if index not in self._coming:
            self._coming[index] = self._blocks[index].unshard(async_op=True)

    def acquire(self, index: int, following: Sequence[int] = ()) -> Tensors:
        with self._together():
            self._ask(index)
            self._coming.pop(index).wait()
            if following:
                self._ask(following[0])
        return self._blocks[index].tensors()

    def release(self, index: int) -> None:
        self._blocks[index].reshard()

    def begin(self) -> None:
        """Nothing is captured."""

    def end(self) -> None:
        """Nothing is captured."""

    def forget(self) -> None:
        """Nothing is captured."""

    def local_bytes(self) -> int:
        """Of this process's parts."""
        return sum(p.to_local().nbytes for block in self._blocks for p in block.parameters())


class ShardedEngine(FastEngine):
    """See :class:`~ltx2core.memory.engine.FastEngine`; all processes call it equally often, with inputs of their own."""

    def plain_blocks(self) -> AbstractContextManager[None]:
        raise LTX2Error("A preview needs the whole base on one card and FSDP2 shards it; switch previews off, or choose distributed ddp.")


def sharded_engine(world: World, memory: MemorySettings, bring: Bring = bring_own) -> EngineFactory:
    """Steps are not captured: a graph would hold on to the gathered weights. ``bring``: see FastEngine."""

    def make(model: nn.Module, objective: Objective, device: torch.device, checkpointing: bool) -> ShardedEngine:
        mesh = base_mesh(device, world)
        settings = replace(memory, captured=False, compiled=memory.compiled and device.type == "cuda" and has_triton())
        return ShardedEngine(model, objective, device, settings, lambda blocks: ShardedStore(blocks, mesh, world), bring)

    return make
