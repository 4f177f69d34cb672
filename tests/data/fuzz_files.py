"""Run as a process of its own: breaks the pack's own files and those of others at random, and reads them.

``python fuzz_files.py FOLDER COUNT SEED`` prints, as JSON, how many of each kind were taken and refused. Whatever is not an
LTX2Error ends it with a traceback, as does a file that holds it up for longer than a minute. On Linux its memory is limited,
so that a size in a broken header cannot be allocated unseen.
"""

import faulthandler
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import torch  # noqa: E402
from fuzz import LONGEST, broken  # noqa: E402

from ltx2core.cache.dataset import CachedClip, DatasetCache  # noqa: E402
from ltx2core.cache.digests import Ledger  # noqa: E402
from ltx2core.cache.store import DamagedEntry, Store  # noqa: E402
from ltx2core.checkpoint.adapter import load_adapter  # noqa: E402
from ltx2core.checkpoint.inspect import describe, inspect_checkpoint  # noqa: E402
from ltx2core.data.memory import ScanMemory  # noqa: E402
from ltx2core.errors import LTX2Error  # noqa: E402
from ltx2core.models.build import load_component  # noqa: E402
from ltx2core.checkpoint.combined import open_checkpoint  # noqa: E402
from ltx2core.runspec import read_run  # noqa: E402
from ltx2core.simpletuner.importer import import_files  # noqa: E402
from ltx2core.text.source import open_text_encoder  # noqa: E402
from ltx2core.tiny import TinySize, write_tiny_checkpoint  # noqa: E402
from ltx2core.tiny_gemma import write_tiny_gemma  # noqa: E402

_MEMORY = 12 << 30  # torch itself reserves several GiB of addresses
_HEAD = 40_000  # bytes of a model file in which faults are made; the rest is weights


def in_header(content: bytes, draw: random.Random) -> bytes:
    """Faults where sizes, shapes and names stand."""
    return broken(content[:_HEAD], draw) + content[_HEAD:] if draw.random() < 0.9 else broken(content, draw)


def _checkpoint(path: Path) -> None:
    describe(inspect_checkpoint(path))
    load_component(open_checkpoint(path), "vocoder")


def _store(path: Path) -> None:
    """An entry is sound with the tensors that were written, or it is damaged; never anything else."""
    store = Store(path.parents[2])
    if not store.sound("text", path.stem):
        raise DamagedEntry("damaged")
    assert torch.equal(store.read("text", path.stem)[0]["video"], torch.arange(64.0).bfloat16())


def _ledger(path: Path) -> None:
    with Ledger(path.parent) as ledger:
        ledger.digest(path.parent / "source.bin")


def _scan_memory(path: Path) -> None:
    with ScanMemory(path) as memory:
        memory.probe_all([path.parent / "source.bin"])
        memory.numbers(path.parent / "source.bin", "cuts", lambda: (1.0,))


def _run_file(path: Path) -> None:
    read_run(path)


def _adapter_bytes(root: Path) -> bytes:
    from safetensors.torch import save_file

    module = "diffusion_model.transformer_blocks.0.attn1.to_q"
    save_file({f"{module}.lora_A.weight": torch.ones(4, 32), f"{module}.lora_B.weight": torch.ones(32, 4)}, root / "a.safetensors", {"format": "pt"})
    return (root / "a.safetensors").read_bytes()


def _sqlite_bytes(opener: Callable[[Path], None], path: Path) -> bytes:
    path.parent.mkdir(parents=True)
    (path.parent / "source.bin").write_bytes(b"source")
    opener(path)
    return path.read_bytes()


def kinds(root: Path) -> dict[str, tuple[bytes, Callable, Callable[[Path], object], Callable]]:
    """name -> (sound content, how it is broken, where it lies, what reads it)."""
    root.mkdir(parents=True)
    write_tiny_checkpoint(root / "tiny.safetensors", TinySize(layers=1))
    write_tiny_gemma(root / "gemma.safetensors")
    entry = Store(root / "cache").write("text", "ab" * 32, {"video": torch.arange(64.0).bfloat16()}, {"prompt": "x"})
    clip = CachedClip("a.mp4", "ab" * 32, "cd" * 32, 96, 64, 9, 25.0, True)
    manifest = DatasetCache(root / "cache", "2.0", (clip,) * 3, "ef" * 32).save()
    config = json.dumps({"max_train_steps": 5, "learning_rate": 1e-4, "ramtorch": True, "tread_config": {"routes": []}, "validation_prompt": "x"}).encode()
    backends = json.dumps([{"id": "d", "dataset_type": "video", "instance_data_dir": "clips", "video": {"num_frames": 9, "min_frames": 9}}]).encode()
    (root / "backends.json").write_bytes(backends)
    run = json.dumps({"checkpoint": "a", "text_encoder": "b", "dataset": {"folder": "c", "frames": 9}, "train": {"steps": 3}}).encode()
    lying = {"sqlite": _sqlite_bytes(_ledger, root / "l" / "ledger.sqlite3"), "scan": _sqlite_bytes(_scan_memory, root / "s" / "scan.sqlite3")}
    return {
        "checkpoint": ((root / "tiny.safetensors").read_bytes(), in_header, lambda f: f / "x.safetensors", _checkpoint),
        "text encoder": ((root / "gemma.safetensors").read_bytes(), in_header, lambda f: f / "x.safetensors", open_text_encoder),
        "adapter": (_adapter_bytes(root), broken, lambda f: f / "x.safetensors", load_adapter),
        "cache entry": (entry.read_bytes(), broken, lambda f: f / "text" / "ab" / f"{'ab' * 32}.safetensors", _store),
        "manifest": (manifest.read_bytes(), broken, lambda f: f / "manifests" / "x.json", DatasetCache.load),
        "ledger": (lying["sqlite"], broken, lambda f: f / "ledger.sqlite3", _ledger),
        "scan memory": (lying["scan"], broken, lambda f: f / "scan.sqlite3", _scan_memory),
        "run file": (run, broken, lambda f: f / "run.json", _run_file),
        "SimpleTuner": (config, broken, lambda f: f / "config.json", lambda p: import_files(p, root / "backends.json")),
        "datasets": (backends, broken, lambda f: f / "backends.json", lambda p: import_files(_beside(p, config), p)),
    }  # fmt: skip


def _beside(path: Path, config: bytes) -> Path:
    (path.parent / "config.json").write_bytes(config)
    return path.parent / "config.json"


def main(root: Path, count: int, seed: int) -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    draw, made = random.Random(seed), kinds(root / "good")
    totals = {name: {"taken": 0, "refused": 0} for name in made}
    for number in range(count):
        name = list(made)[number % len(made)]
        content, breaker, place, read = made[name]
        faulthandler.dump_traceback_later(LONGEST, exit=True)
        path = place(root / str(number))
        path.parent.mkdir(parents=True)
        (path.parent / "source.bin").write_bytes(b"source")
        path.write_bytes(breaker(content, draw))
        print(f"{number} {name}", file=sys.stderr, flush=True)
        try:
            read(path)
            totals[name]["taken"] += 1
        except LTX2Error as error:
            assert str(error).strip() and len(str(error)) < 2000, error
            totals[name]["refused"] += 1
    print(json.dumps(totals))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
