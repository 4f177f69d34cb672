"""Seconds and memory of loading the 19B base for training: whole in bf16, and quantised while the file is read.

    python benchmarks/load.py --folder /dev/shm/ltx2 --json benchmarks/results/load.json
    python benchmarks/load.py --checkpoint ltx-2-19b-dev-fp8.safetensors
    python benchmarks/load.py --rehearse

Without --checkpoint a random file of full size is written to --folder, after its bytes are told. ``--rehearse`` runs all of it
on a file of 0.3 GiB, on the processor where there is no card; without it, and without an NVIDIA card, it says so and exits with 2.
Wheels beside PyTorch: diffusers, transformers, peft, safetensors, sentencepiece, torchao.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402
import torchao.quantization  # noqa: E402, F401 (both before anything is measured: 0.15 GiB of libraries are not the model's)
from diffusers import LTX2VideoTransformer3DModel  # noqa: E402, F401

from benchmarks.measured import GIB, beside, taken, write_record  # noqa: E402
from ltx2core.checkpoint.combined import Checkpoint, open_checkpoint  # noqa: E402
from ltx2core.checkpoint.shapes import transformer_shapes  # noqa: E402
from ltx2core.full_size import LTX2_19B, full_config, plan_checkpoint, write_random  # noqa: E402
from ltx2core.memory.block_file import BlockFile  # noqa: E402
from ltx2core.memory.engine import MemorySettings, make_store  # noqa: E402
from ltx2core.memory.plan import BaseSize  # noqa: E402
from ltx2core.memory.residency import WithoutBlocks  # noqa: E402
from ltx2core.models.build import load_transformer  # noqa: E402
from ltx2core.standalone import PlainResidency  # noqa: E402
from ltx2core.tiny import TinySize, tiny_config  # noqa: E402

FORMS = {
    "bf16": MemorySettings(), "int8": MemorySettings("int8"), "fp8": MemorySettings("fp8"), "streamed_int8": MemorySettings("int8", streamed=48),
    "streamed_bf16": MemorySettings(streamed=48),
}  # fmt: skip
REHEARSED = TinySize(layers=24, heads=4, head_dim=128, audio_head_dim=64)
ALLOWED = 2 * GIB  # of host memory beside the quantised model


def load(checkpoint: Checkpoint, form: str, device: torch.device) -> dict:
    """One way of loading; in a process of its own, since memory that was freed would be used again uncounted."""
    settings, plain = FORMS[form], form == "bf16"
    size = BaseSize.of_shapes(transformer_shapes(checkpoint))
    with ExitStack() as stack, taken() as found:
        if plain:
            held = load_transformer(checkpoint, dtype=torch.bfloat16).to(device)  # noqa: F841 (kept until all is measured)
        else:
            file = BlockFile(checkpoint, torch.bfloat16)
            placed = stack.enter_context(WithoutBlocks(PlainResidency(device)).use(file.model))
            held = placed, make_store(list(placed.transformer_blocks), settings, device, bring=file.bring)  # noqa: F841
    model_bytes = size.blocks * size.block_bytes(settings.precision) + size.rest
    return {
        "form": form, "checkpoint": checkpoint.path.name, "flavour": checkpoint.flavour, "model_gib": round(model_bytes / GIB, 3), **found.record(),
        "gib_a_second": round(checkpoint.header.file_size / GIB / found.seconds, 2), "within_model_plus_2_gib": plain or found.host_peak <= model_bytes + ALLOWED,
    }  # fmt: skip


def in_a_process(checkpoint: Path, form: str, rehearse: bool) -> dict:
    command = [sys.executable, __file__, "--checkpoint", str(checkpoint), "--forms", form, *(["--rehearse"] if rehearse else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def checkpoint_of(a: argparse.Namespace, device: torch.device) -> Iterator[Checkpoint]:
    if a.checkpoint:
        yield open_checkpoint(a.checkpoint)
        return
    with tempfile.TemporaryDirectory(dir=a.folder) as folder:
        config, size = (tiny_config(REHEARSED), REHEARSED) if a.rehearse else (full_config(), LTX2_19B)
        plan = plan_checkpoint(Path(folder) / "random.safetensors", config, size)
        print(f"Writing {plan.nbytes / GIB:.1f} GiB to {plan.path}.", flush=True)
        yield open_checkpoint(write_random(plan, device))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--checkpoint", type=Path)
    arguments.add_argument("--folder", type=Path, help="an existing one with 41 GiB free, on disk or in memory")
    arguments.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    arguments.add_argument("--rehearse", action="store_true")
    a = arguments.parse_args()
    if not torch.cuda.is_available() and not a.rehearse:
        print("This benchmark needs an NVIDIA card; none is here.")
        return 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with checkpoint_of(a, device) as checkpoint:
        rows = []
        for form in a.forms:
            rows.append(load(checkpoint, form, device) if len(a.forms) == 1 else in_a_process(checkpoint.path, form, a.rehearse))
            print(json.dumps(rows[-1]), flush=True)
    write_record(a.json, {**beside(), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
