"""Ten thousand clips, and loading beside a card that computes: python benchmarks/dataset.py [--clips 10000] [--out FILE]

1. scan: a folder of as many films as asked for, each with a caption: first scan and a second one, which opens no file.
2. open: a cache's manifest of as many clips: reading it and making the first batch's order; bytes of memory a clip.
3. load: entries of the 19B's size (two times 7.5 MiB of text features a caption, latents of the shape) read through the loader of
   the training, beside a consumer that takes a little less than the fastest measured step. ``cold`` has the system forget every file
   before it is read again, so that each byte comes from the disk.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ltx2core.cache.dataset import CachedClip, DatasetCache
from ltx2core.cache.store import Store
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.geometry import audio_latent_length, latent_frames
from ltx2core.media.audio import Waveform
from ltx2core.media.write import write_video
from ltx2core.train.data import RunData
from ltx2core.train.feed import Feed
from ltx2core.train.sampler import BucketSampler
from ltx2core.train.settings import TrainSettings
from ltx2core.train.waiting import DataWait

TEXT = (1024, 3840)
CAPTION = "A red fox with number {0} runs through deep snow at dusk while the camera follows it from the left, its breath shows in the cold air and the wind howls. " * 2
# (clips, frames, height, width, seconds: a little less than the fastest step measured on a card, results/train_step_h200.json)
LOADS = {"2x17x480x832": (2, 17, 480, 832, 0.28), "1x121x512x768": (1, 121, 512, 768, 0.80)}
ORIGINALS = 20


def timed(work: Callable[[], object]) -> tuple[dict[str, float], object]:
    """Seconds on the clock and of the processor (of all threads; other programs do not count there), and the result."""
    gc.collect()
    begin, worked = time.perf_counter(), time.process_time()
    result = work()
    return {"seconds": round(time.perf_counter() - begin, 3), "processor": round(time.process_time() - worked, 3)}, result


def kept_bytes(make: Callable[[], object]) -> tuple[int, object]:
    """Bytes that stay in use because of what ``make`` returns, and that."""
    gc.collect()
    tracemalloc.start()
    result = make()
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept, result


def write_clips(folder: Path, count: int) -> None:
    """Films of 2 s, 256 x 160, with sound: ``ORIGINALS`` different ones, each copied to files of their own."""
    generator = torch.Generator().manual_seed(0)
    first = [folder / f"original_{i}.mp4" for i in range(ORIGINALS)]
    for path in first:
        small = torch.randint(0, 255, (50, 10, 16, 3), dtype=torch.uint8, generator=generator)
        write_video(path, small.repeat_interleave(16, 1).repeat_interleave(16, 2), 25, Waveform(torch.rand(2, 96000, generator=generator) - 0.5, 48000))
    for i in range(count):
        shutil.copyfile(first[i % ORIGINALS], folder / f"clip_{i:05d}.mp4")
        (folder / f"clip_{i:05d}.txt").write_text(CAPTION.format(i), encoding="utf-8")
    for path in first:
        path.unlink()


def measure_scan(root: Path, count: int) -> dict:
    folder, memory = root / "clips", root / "scan.sqlite3"
    folder.mkdir()
    write_clips(folder, count)
    spec = DatasetSpec(str(folder), width=256, height=160)
    first, index = timed(lambda: scan(spec, memory=memory))
    again, _ = timed(lambda: scan(spec, memory=memory))
    kept, _ = kept_bytes(lambda: scan(spec, memory=memory))
    shutil.rmtree(folder)
    return {"clips": len(index.clips), "first": first, "again": again, "bytes_a_clip": round(kept / count), "caption_letters": len(CAPTION)}


def measure_open(root: Path, count: int) -> dict:
    def record(i: int) -> CachedClip:
        return CachedClip(f"clip_{i:05d}.mp4", f"{i:064x}", f"{i + count:064x}", 768, 512, 17 + 8 * (i % 5), 25.0, True, path=f"/home/someone/films/clip_{i:05d}.mp4", dataset="films")

    manifest = DatasetCache(root / "cache", "2.0", tuple(map(record, range(count))), "e" * 64).save()

    def ready() -> tuple[DatasetCache, BucketSampler]:
        cache = DatasetCache.load(manifest)
        sampler = BucketSampler(cache, 2, 0)
        sampler.next()
        return cache, sampler

    seconds, _ = timed(ready)
    kept, _ = kept_bytes(ready)
    return {"clips": count, "opened": seconds, "bytes_a_clip": round(kept / count), "manifest_bytes_a_clip": round(manifest.stat().st_size / count)}


def _entries(root: Path, frames: int, height: int, width: int, count: int) -> DatasetCache:
    store, generator, clips = Store(root), torch.Generator().manual_seed(1), []

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).bfloat16()

    for i in range(count):
        key = f"{i:064x}"
        store.write("text", key, {"video": noise(*TEXT), "audio": noise(*TEXT)}, {})
        latents = {"video": noise(128, latent_frames(frames), height // 32, width // 32), "audio": noise(8, audio_latent_length(frames, 25.0), 16)}
        store.write("latents", key, latents, {})
        clips.append(CachedClip(f"{i}.mp4", key, key, width, height, frames, 25.0, True))
    store.write("text", "e" * 64, {"video": noise(*TEXT), "audio": noise(*TEXT)}, {})
    return DatasetCache(root, "2.0", tuple(clips), "e" * 64)


def _forget(root: Path) -> None:
    """Have the system drop the files' pages."""
    for path in root.rglob("*.safetensors"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_load(root: Path, name: str, steps: int, entries: int, cold: bool) -> dict:
    batch, frames, height, width, seconds = LOADS[name]
    folder = root / name
    cache = _entries(folder, frames, height, width, entries)
    settings, wait, took = TrainSettings(batch_size=batch), DataWait(), []
    with Feed(RunData(cache), BucketSampler(cache, batch, 0), settings, torch.bfloat16, 0, False) as feed:
        for _ in range(steps):
            if cold:
                _forget(folder)
            begin, waited = time.perf_counter(), feed.waited
            list(feed.step())
            time.sleep(seconds)  # the card computes
            took.append(time.perf_counter() - begin)
            wait.add(feed.waited - waited, took[-1])
    reading, _ = timed(lambda: [cache[i] for i in range(len(cache))])
    shutil.rmtree(folder)
    return {
        "shape": name, "cold": cold, "step_seconds": seconds, "steps": steps, "entries": entries, "data_wait": round(wait.share, 5),
        "read_ms_a_clip": round(1000 * reading["seconds"] / entries, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--entries", type=int, default=24)
    parser.add_argument("--folder", help="on the disk that is to be measured; the system's temporary one by default")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        root = Path(name)
        result = {
            "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}", "load_before": [round(x, 2) for x in os.getloadavg()],
            "scan": measure_scan(root, arguments.clips), "open": measure_open(root, arguments.clips),
            "load": [measure_load(root, shape, arguments.steps, arguments.entries, cold) for shape in LOADS for cold in (False, True)],
            "load_after": [round(x, 2) for x in os.getloadavg()],
        }  # fmt: skip
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
