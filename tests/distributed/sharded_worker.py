"""One of two processes: a step with the base sharded, compared with one that has it whole. Run by ``test_sharded``."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from ltx2core.cache.dataset import Sample
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.distributed.fsdp import ShardedStore, sharded_engine
from ltx2core.distributed.world import Alone
from ltx2core.memory.engine import FastEngine, MemorySettings, make_store
from ltx2core.models.build import load_transformer
from ltx2core.train.batch import prepare
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.settings import LoRASettings, TrainSettings
from ltx2core.train.targets import choose

CPU = torch.device("cpu")


class World(Alone):
    rank, size, local_size = 0, 2, 2


def inputs(rank):
    generator = torch.Generator().manual_seed(rank)
    make = lambda *shape: torch.randn(*shape, generator=generator).bfloat16()  # noqa: E731
    return prepare([Sample("0", make(128, 2, 2, 3), make(8, 9, 16), make(16, 64), make(16, 64), 25.0, "b")], 3, TrainSettings(), torch.float32)


def step(file, settings, sharded, rank):
    """(loss, gradients of two steps, of which the second adds to the first)."""
    model = load_transformer(open_checkpoint(file), dtype=torch.float32)
    with injected(model, LoRASettings(rank=4, dropout=0.3), choose("audio_video", 2, True).modules, 0, torch.float32) as lora:
        with torch.no_grad():
            for i, parameter in enumerate(lora.parameters.values()):
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(i))
        objective = Objective.of(TrainSettings())
        engine = sharded_engine(World(), settings)(model, objective, CPU, True) if sharded else FastEngine(model, objective, CPU, settings)
        losses = [engine(inputs(rank)).total, engine.evaluate(inputs(rank)).total, engine(inputs(rank)).total]
        return torch.stack(losses), {n: p.grad.clone() for n, p in lora.parameters.items()}


def main(file, out):
    dist.init_process_group("gloo")
    rank, found = dist.get_rank(), {}
    for precision in ("bf16", "int8", "fp8"):
        for fused in (True, False):
            settings = MemorySettings(precision, compiled=False, captured=False, fused=fused, hosted="inputs" if fused else "")
            (ours, gradients), (expected, theirs) = (step(file, settings, sharded, rank) for sharded in (True, False))
            worst = max(((gradients[n] - theirs[n]).norm() / theirs[n].norm().clamp(min=1e-12)).item() for n in theirs)
            found[f"{precision} {fused}"] = {"loss": (ours - expected).abs().max().item(), "gradients": worst, "moved": max(t.norm().item() for t in gradients.values())}
    model = load_transformer(open_checkpoint(file), dtype=torch.float32)
    whole = sum(p.nbytes for p in model.transformer_blocks.parameters())
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    store = make_store(model.transformer_blocks, MemorySettings(), CPU, lambda blocks: ShardedStore(blocks, mesh, World()))
    found["share"] = store.local_bytes() / whole
    Path(f"{out}.{rank}").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
