"""The whole path once at full size on random weights: load, cache, 50 steps, sample; with its log kept.

    python benchmarks/end_to_end.py --folder /dev/shm/ltx2 --log benchmarks/results/end_to_end.log --json benchmarks/results/end_to_end.json
    python benchmarks/end_to_end.py --rehearse

What will lie on disk and in memory is printed before anything is written. Each phase tells its seconds, its peaks, and what
it left on the card: the text encoder must be gone before the VAE comes, the VAE before the transformer. ``--rehearse`` runs all
of it on tiny models, on the processor where there is no card; without it, and without an NVIDIA card, it says so and exits
with 2. Wheels beside PyTorch: diffusers, transformers, peft, safetensors, sentencepiece, av, Pillow, lycoris-lora, tqdm, filelock.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from benchmarks.films import write_films  # noqa: E402
from benchmarks.measured import GIB, beside, taken, write_record  # noqa: E402
from ltx2core.full_size import write_full  # noqa: E402
from ltx2core.protocols import Progress  # noqa: E402
from ltx2core.runfile import Runner, read_run  # noqa: E402
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag  # noqa: E402
from ltx2core.tiny import write_tiny_checkpoint  # noqa: E402
from ltx2core.tiny_gemma import write_tiny_gemma  # noqa: E402

LEFT = 0.25 * GIB  # that a phase may leave on the card: work space of libraries


class PhaseLog(ConsoleReporter):
    """Also notes when a stage tells of progress, and what is allocated on the card then."""

    def __init__(self, log: Path):
        super().__init__(log, quiet=True)
        self.allocated: dict[str, list[int]] = {}
        self._times: dict[str, list[tuple[int, float]]] = {}

    def seconds_each(self, stage: str) -> float | None:
        """Between its first and its last word; None where it said one alone."""
        (first, began), *_, (last, ended) = [*self._times[stage], *self._times[stage]]
        return (ended - began) / (last - first) if last > first else None

    def progress(self, event: Progress) -> None:
        self._times.setdefault(event.stage, []).append((event.done, time.monotonic()))
        if torch.cuda.is_available():
            self.allocated.setdefault(event.stage, []).append(torch.cuda.memory_allocated())
        super().progress(event)

    def message(self, text: str, level: str = "info") -> None:
        super().message(text, level)
        print(text, flush=True)


def make_run(folder: Path, rehearse: bool, gemma_fp8: bool, memory: str, given: tuple[Path, Path] | None) -> Path:
    frames, height, width = (9, 64, 96) if rehearse else (121, 512, 768)
    if given:
        checkpoint, gemma = given
    elif rehearse:
        checkpoint, gemma = write_tiny_checkpoint(folder / "tiny.safetensors"), write_tiny_gemma(folder / "gemma.safetensors")
    else:
        checkpoint, gemma = write_full(folder, gemma_fp8, torch.device("cuda"))
    write_films(folder / "films", 4, frames, height, width)
    size = {"width": width, "height": height, "frames": frames}
    run = {
        "checkpoint": str(checkpoint), "text_encoder": str(gemma), "output": str(folder / "out"), "name": "random", "dataset": {"folder": str(folder / "films"), **size},
        "train": {"steps": 4 if rehearse else 50, "validate_every": 0, "optimizer": "adamw_bf16"}, "memory": None if memory == "auto" else json.loads(memory),
        "samples": [{"name": "sample", "prompt": "Stripes wander.", "settings": {**size, "steps": 2 if rehearse else 40}}],
    }  # fmt: skip
    path = folder / "run.json"
    path.write_text(json.dumps(run, indent=1), encoding="utf-8")
    return path


def phases(run_file: Path, device: torch.device, log: PhaseLog) -> list[dict]:
    rows, state = [], {}
    services = (PlainResidency(device), log, StopFlag())

    def prepare() -> None:
        state["runner"] = Runner(read_run(run_file), *services)

    def train() -> None:
        result = state["runner"].train()
        losses = [(v.video, v.audio) for v in result.validation]
        state["train"] = {"steps": result.steps, "seconds_a_step": log.seconds_each("train"), "last_loss": result.history.steps[-1].loss, "validation_losses": [losses[0], losses[-1]]}

    def sample() -> None:
        state["sample"] = {"files": [str(p) for p in state["runner"].sample()]}

    for name, work in (("open", prepare), ("cache", lambda: state["runner"].cache()), ("train", train), ("sample", sample)):
        with taken() as found:
            work()
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
        # Weights that stay for the next phase are no leak: sampling uses what training has left.
        kept = name in ("train", "sample")
        rows.append({"phase": name, **found.record(), "left_nothing": kept or found.device_left <= LEFT, **state.get(name, {})})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--log", type=Path, help="every event of the run, a line of JSON each")
    arguments.add_argument("--folder", type=Path, help="52 GiB free (with Gemma in fp8), on disk or in memory; a temporary one by default")
    arguments.add_argument("--checkpoint", type=Path, help="with --text-encoder: files that are there, instead of random ones")
    arguments.add_argument("--text-encoder", type=Path)
    arguments.add_argument("--gemma", choices=("fp8", "bf16"), default="fp8")
    arguments.add_argument("--memory", default="auto", help='of the run file, e.g. {"precision": "int8"}')
    arguments.add_argument("--rehearse", action="store_true")
    a = arguments.parse_args()
    if (a.checkpoint is None) != (a.text_encoder is None):
        arguments.error("--checkpoint and --text-encoder belong together; give both, or none.")
    if not torch.cuda.is_available() and not a.rehearse:
        print("This benchmark needs an NVIDIA card; none is here.")
        return 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if a.folder:
        a.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=a.folder) as folder:
        log = PhaseLog(a.log or Path(folder) / "events.jsonl")
        with taken() as written:
            run_file = make_run(Path(folder), a.rehearse, a.gemma == "fp8", a.memory, (a.checkpoint.resolve(), a.text_encoder.resolve()) if a.checkpoint else None)
        rows = [{"phase": "write", **written.record()}, *phases(run_file, device, log)]
        log.close()
    allocated = {stage: [round(min(v) / GIB, 2), round(max(v) / GIB, 2)] for stage, v in log.allocated.items()}
    write_record(a.json, {**beside(), "rows": rows, "allocated_gib_by_stage": allocated})
    return 0 if all(r.get("left_nothing", True) for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
