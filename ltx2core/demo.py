"""The whole path on made data and tiny models, without ComfyUI: caches, trains, samples, and says what came out."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from .demo_clips import write_demo_clips
from .media.audio import decode_audio
from .media.video import decode_video
from .media.write import write_audio
from .protocols import Reporter
from .runfile import Runner, read_run
from .standalone import ConsoleReporter, PlainResidency, StopFlag
from .tiny_base import write_tiny_models

NAME = "demo_lora"
PROMPT = "A green square moves up over a dark background, with a middle tone."
SIZE = {"width": 128, "height": 96, "frames": 17}
TRAIN = {"steps": 200, "warmup": 10, "batch_size": 2, "learning_rate": 5e-3, "dtype": "float32", "checkpoint_every": 100, "validate_every": 50}
SAMPLE = {**SIZE, "steps": 8, "seed": 7, "video_cfg": 2.0}
CHECKPOINT, TEXT_ENCODER = "ltx-2-19b-dev.safetensors", "gemma_3_12B_it.safetensors"


def write_inputs(folder: Path) -> None:
    """Clips to learn from in ``ltx2_clips``, and a picture and a sound that none of them has."""
    write_demo_clips(folder / "ltx2_clips")
    clip = write_demo_clips(folder / "unseen", seed=77, count=1)[0]
    frame = decode_video(clip, frame_rate=25, num_frames=1)[0]
    from PIL import Image

    Image.fromarray(frame.numpy()).save(folder / "example.png")
    write_audio(folder / "example.wav", decode_audio(clip, rate=48000))


def sample_jobs() -> list[dict]:
    """T2V, I2V and S2V, each with the adapter and without."""
    modes = {"t2v": {}, "i2v": {"image": "inputs/example.png"}, "s2v": {"sound": "inputs/example.wav"}}
    return [
        {"name": f"{mode}_{label}", "prompt": PROMPT, "strength": strength, "settings": SAMPLE, **given}
        for mode, given in modes.items()
        for label, strength in (("base", 0.0), ("adapter", 1.0))
    ]


def run_demo(out: Path, reporter: Reporter | None = None) -> dict:
    """Leaves the adapter, loss.png, six videos and report.json under ``out``; returns the report."""
    started, reporter = time.monotonic(), reporter or ConsoleReporter(out / "events.jsonl" if out.exists() else None)
    out.mkdir(parents=True, exist_ok=True)
    reporter.message("Making tiny models and drawing clips.")
    write_tiny_models(out / "models", checkpoint_name=CHECKPOINT, text_encoder_name=TEXT_ENCODER)
    write_inputs(out / "inputs")
    run = {
        "checkpoint": f"models/{CHECKPOINT}", "text_encoder": f"models/{TEXT_ENCODER}", "output": ".", "name": NAME,
        "dataset": {"folder": "inputs/ltx2_clips", **SIZE}, "train": TRAIN, "samples": sample_jobs(),
    }  # fmt: skip
    (out / "run.json").write_text(json.dumps(run, indent=1), encoding="utf-8")
    runner = Runner(read_run(out / "run.json"), PlainResidency(), reporter, StopFlag())
    result = runner.train()
    videos = runner.sample()
    return write_report(out, {
        "with": "the library, without ComfyUI", "python": sys.version.split()[0], "steps": result.steps, "seconds": round(time.monotonic() - started, 1),
        "training_seconds": round(result.seconds, 1), "peak_bytes": result.peak_bytes,
        "losses": [{"step": r.step, "video": r.video, "audio": r.audio} for r in result.history.steps],
        "validation": [asdict(v) for v in result.validation],
        "files": [runner.adapter_path.name, "loss.png", *(v.name for v in videos)],
    })  # fmt: skip


def write_report(out: Path, report: dict) -> dict:
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return report
