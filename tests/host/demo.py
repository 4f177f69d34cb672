"""make demo: the shipped workflows in a real ComfyUI when there is one, else the library alone; both on tiny models.

usage: python tests/host/demo.py [OUT]
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

# Tiny tensors take several times as long where threads wait for each other at every operation.
os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from comfy_host import ENABLE, ComfyHost, HostError, find_comfyui, host_python, shipped  # noqa: E402

from ltx2core.demo import CHECKPOINT, NAME, PROMPT, SAMPLE, SIZE, TEXT_ENCODER, TRAIN, run_demo, write_inputs, write_report  # noqa: E402
from ltx2core.tiny_base import write_tiny_models  # noqa: E402

_MODES = {"t2v": ("text_to_video", "LTX2SampleT2V"), "i2v": ("image_to_video", "LTX2SampleI2V"), "s2v": ("sound_to_video", "LTX2SampleS2V")}


def _prompt(name: str, **changes: dict) -> dict:
    prompt = shipped(name, **changes)
    for node in prompt.values():
        if node["_meta"]["title"] == "Prompt":
            node["inputs"]["prompt"] = PROMPT
    return prompt


def _saved(host: ComfyHost, outputs: dict) -> list[Path]:
    found = [e for node in outputs.values() for value in node.values() if isinstance(value, list) for e in value if isinstance(e, dict) and "filename" in e]
    return [host.base / e["type"] / e["subfolder"] / e["filename"] for e in found]


def _train(host: ComfyHost, out: Path) -> dict:
    changes = {
        "LTX2VideoDataset": SIZE, "LTX2TrainSettings": TRAIN, "LTX2TrainLoRA": {"name": NAME},
        "LTX2SampleT2V": {**SAMPLE, "audio_cfg": SAMPLE["video_cfg"]}, "LTX2TrainingPreview": {**SIZE, "steps": SAMPLE["steps"], "video_cfg": SAMPLE["video_cfg"]},
    }  # fmt: skip
    outputs = host.run(_prompt("first_lora", **changes), 1200)
    for path in _saved(host, outputs):
        if path.suffix == ".png":
            shutil.copyfile(path, out / "loss.png")
    shutil.copyfile(host.base / "models" / "loras" / f"{NAME}.safetensors", out / f"{NAME}.safetensors")
    return next(node["ltx2_run"][0] for node in outputs.values() if "ltx2_run" in node)


def _sample(host: ComfyHost, out: Path) -> list[str]:
    names = []
    for mode, (workflow, kind) in _MODES.items():
        for label, strength in (("base", 0.0), ("adapter", 1.0)):
            changes = {
                kind: {**SAMPLE, "audio_cfg": SAMPLE["video_cfg"]},
                "LTX2LoadAdapter": {"adapter": f"{NAME}.safetensors"}, "LTX2ApplyAdapters": {"strength_1": strength},
            }  # fmt: skip
            (video,) = _saved(host, host.run(_prompt(workflow, **changes), 600))
            names.append(f"{mode}_{label}.mp4")
            shutil.copyfile(video, out / names[-1])
            print(f"  {names[-1]}", flush=True)
    return names


def in_comfyui(out: Path, root: Path) -> dict:
    """The shipped graphs over HTTP, in a scratch base directory."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ltx2-demo-") as folder:
        base = Path(folder)
        print("Making tiny models and drawing clips.", flush=True)
        checkpoint, gemma = write_tiny_models(base / "tiny", checkpoint_name=CHECKPOINT, text_encoder_name=TEXT_ENCODER)
        for source, kind in ((checkpoint, "checkpoints"), (gemma, "text_encoders")):
            (base / "models" / kind).mkdir(parents=True)
            shutil.move(source, base / "models" / kind / source.name)
        write_inputs(base / "input")
        print(f"Starting ComfyUI from {root}.", flush=True)
        with ComfyHost(base, root) as host:
            print(f"Training {TRAIN['steps']} steps with workflows/api/first_lora.json over HTTP.", flush=True)
            run = _train(host, out)
            videos = _sample(host, out)
        metrics = [json.loads(line) for line in (base / "output" / "ltx2_runs" / NAME / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [{k: m[k] for k in ("step", "video", "audio")} for m in metrics if m["event"] == "step"]
    return write_report(out, {
        "with": f"ComfyUI at {root}", "python": sys.version.split()[0], "steps": run["steps"], "seconds": round(time.monotonic() - started, 1),
        "training_seconds": round(run["seconds"], 1), "peak_bytes": run["peak_bytes"], "losses": losses, "validation": run["validation"],
        "files": [f"{NAME}.safetensors", "loss.png", *videos],
    })  # fmt: skip


def _hush() -> None:
    """At import these libraries say at length which of their optional parts are missing; the demo needs none of those."""
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def main(out: Path) -> int:
    _hush()
    out.mkdir(parents=True, exist_ok=True)
    try:
        if (root := find_comfyui()) is not None:
            host_python(root)
    except HostError as error:
        print(f"ComfyUI cannot be used: {error}")
        root = None
    if root is None:
        print(f"No usable ComfyUI was found, so the library runs alone ({ENABLE}).")
        report = run_demo(out)
    else:
        report = in_comfyui(out, root)
    first, last = report["validation"][0]["video"], report["validation"][-1]["video"]
    print(f"Done in {report['seconds']:g} s with {report['with']}: validation loss {first:.3f} -> {last:.3f}; see {out}/:")
    print("  " + "  ".join(report["files"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out")))
