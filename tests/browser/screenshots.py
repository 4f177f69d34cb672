"""Takes the pictures that the README and the docs use, from a real run in a real browser.

usage: NODE_PATH=<folder>/node_modules python tests/browser/screenshots.py [--models FOLDER] [OUT]

FOLDER holds the tiny models of an earlier demo; without it they are made, which takes minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "host"), str(HERE.parents[1])]

from browser_tools import run_script  # noqa: E402
from comfy_host import PACK, ComfyHost  # noqa: E402

from ltx2core.demo import CHECKPOINT, PROMPT, SAMPLE, SIZE, TEXT_ENCODER, TRAIN, write_inputs  # noqa: E402
from ltx2core.memory.plan import GIB, BaseSize, Load, choose  # noqa: E402
from ltx2core.tiny_base import write_tiny_models  # noqa: E402

RUN = "my_first_lora"
# BaseSize.of(diffusers' LTX2VideoTransformer3DModel() on the meta device); a run at 768x512, 49 frames, rank 32, all attention.
REAL, LOAD = BaseSize(48, 772_149_248, 771_751_936, 689_185_280), Load(2737, 1, 213_909_504)
FREE = int(23.5 * GIB), 64 * GIB


def fill(base: Path, models: Path | None) -> None:
    """Tiny models that have learned to draw, and the clips of the demo."""
    if models is None:
        models = base / "tiny"
        write_tiny_models(models, checkpoint_name=CHECKPOINT, text_encoder_name=TEXT_ENCODER)
    for name, kind in ((CHECKPOINT, "checkpoints"), (TEXT_ENCODER, "text_encoders")):
        (base / "models" / kind).mkdir(parents=True)
        shutil.copyfile(models / name, base / "models" / kind / name)
    write_inputs(base / "input")
    (base / "input" / "ltx2_clips" / "holiday.mp4").write_bytes(b"no film")
    (base / "input" / "ltx2_clips" / "holiday.txt").write_text("A day at the sea.", encoding="utf-8")


def _widgets() -> dict:
    """The demo's own settings, in which its tiny models learn something that can be seen."""
    sample = {**SIZE, "steps": SAMPLE["steps"], "video_cfg": SAMPLE["video_cfg"]}
    return {
        "LTX2VideoDataset": SIZE, "LTX2SampleT2V": sample, "LTX2TrainingPreview": {**sample, "name": "square", "every": 100}, "LTX2TrainLoRA": {"name": RUN},
        "LTX2TrainSettings": {**TRAIN, "steps": 10_000, "validate_every": 50, "checkpoint_every": 0},
    }  # fmt: skip


def main(out: Path, models: Path | None) -> None:
    out.mkdir(parents=True, exist_ok=True)
    plan = dataclasses.asdict(choose(REAL, LOAD, *FREE).told(FREE[0]))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        fill(base, models)
        with ComfyHost(base) as host:
            taken = run_script("screenshots.mjs", 1500, url=host.url, out=str(out), run=RUN, plan=plan, prompt=PROMPT, widgets=_widgets(), workflow=str(PACK / "workflows" / "first_lora.json"))
    for name in taken["pictures"]:
        print(f"{name}: {os.path.getsize(out / name) // 1024} KiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=PACK / "docs" / "images")
    parser.add_argument("--models", type=Path)
    given = parser.parse_args()
    main(given.out, given.models)
