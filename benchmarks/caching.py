"""Clips and captions a second while a dataset is cached at full size, and where the time goes.

    python benchmarks/caching.py --folder /dev/shm/ltx2 --json benchmarks/results/caching.json
    python benchmarks/caching.py --checkpoint ltx-2-19b-dev.safetensors --text-encoder gemma_3_12B_it.safetensors
    python benchmarks/caching.py --rehearse

Each size is cached three times: as the pack does it, files being decoded ahead and clips of one size encoded together; one clip
after the other; and once more as the pack does it, since the first row also pays what a process pays once. ``--rehearse`` runs all of it on
tiny models, on the processor where there is no card; without it, and without an NVIDIA card, it says so and exits with 2. Wheels beside PyTorch: diffusers, transformers, safetensors, sentencepiece, av.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from benchmarks.films import write_films  # noqa: E402
from benchmarks.measured import beside, taken, write_record  # noqa: E402
from ltx2core.cache.build import build_cache  # noqa: E402
from ltx2core.checkpoint.combined import open_checkpoint  # noqa: E402
from ltx2core.data.scan import scan  # noqa: E402
from ltx2core.data.spec import DatasetSpec  # noqa: E402
from ltx2core.full_size import write_full  # noqa: E402
from ltx2core.models.vae_memory import VaeMemory  # noqa: E402
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag  # noqa: E402
from ltx2core.text.source import open_text_encoder  # noqa: E402
from ltx2core.tiny import write_tiny_checkpoint  # noqa: E402
from ltx2core.tiny_gemma import write_tiny_gemma  # noqa: E402

# frames, height, width
SHAPES = {"17x480x832": (17, 480, 832), "121x512x768": (121, 512, 768), "1x1024x1024": (1, 1024, 1024)}
REHEARSED = {"9x64x96": (9, 64, 96)}


class Told(ConsoleReporter):
    """Keeps the sentences about stages."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.shares: dict[str, str] = {}

    def message(self, text: str, level: str = "info") -> None:
        what = text.split(":")[0]
        if what in ("Captions", "Clips"):
            self.shares[f"{what.lower()}_told"] = text


def measure(name: str, sizes: tuple[int, int, int], parts, clips: int, folder: Path, device: torch.device, together: bool) -> dict:
    frames, height, width = sizes
    spec = DatasetSpec(str(folder / name), width=width, height=height, frames=frames)
    if not (folder / name).exists():
        write_films(folder / name, clips, frames, height, width)
    told, cache = Told(), folder / f"cache-{name}"
    vae = VaeMemory(batch_size=4 if together else 1, temporal_roll=device.type == "cuda")
    with taken() as found:
        build_cache(scan(spec), *parts, cache, residency=PlainResidency(device), reporter=told, stop=StopFlag(), vae=vae)
    shutil.rmtree(cache)
    return {"shape": name, "clips": clips, "clips_at_once": vae.batch_size, **found.record(), **told.shares}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--checkpoint", type=Path)
    arguments.add_argument("--text-encoder", type=Path)
    arguments.add_argument("--folder", type=Path, help="53 GiB free, on disk or in memory; a temporary one by default")
    arguments.add_argument("--clips", type=int, default=16)
    arguments.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    arguments.add_argument("--rehearse", action="store_true")
    a = arguments.parse_args()
    if not torch.cuda.is_available() and not a.rehearse:
        print("This benchmark needs an NVIDIA card; none is here.")
        return 2
    device, rows = torch.device("cuda" if torch.cuda.is_available() else "cpu"), []
    if a.folder:
        a.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=a.folder) as scratch:
        folder = Path(scratch)
        if a.checkpoint and a.text_encoder:
            files = a.checkpoint, a.text_encoder
        elif a.rehearse:
            files = write_tiny_checkpoint(folder / "tiny.safetensors"), write_tiny_gemma(folder / "gemma.safetensors")
        else:
            files = write_full(folder, True, device)
        parts = open_checkpoint(files[0]), open_text_encoder(files[1])
        for name, sizes in (REHEARSED if a.rehearse else {n: SHAPES[n] for n in a.shapes}).items():
            for together in (True, False, True):
                rows.append(measure(name, sizes, parts, a.clips, folder, device, together))
                print(json.dumps(rows[-1]), flush=True)
                write_record(a.json, {**beside(), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
