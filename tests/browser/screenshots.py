"""Takes the pictures that the README and the docs use, from a real run in a real browser.

usage: NODE_PATH=<folder>/node_modules python tests/browser/screenshots.py [docs/images]
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "host"), str(HERE.parents[1])]

from browser_tools import run_script  # noqa: E402
from comfy_host import PACK, ComfyHost  # noqa: E402

from ltx2core.demo import CHECKPOINT, PROMPT, TEXT_ENCODER, write_inputs  # noqa: E402
from ltx2core.memory.plan import GIB, BaseSize, Load, choose  # noqa: E402
from ltx2core.tiny_base import write_tiny_models  # noqa: E402

RUN = "my_first_lora"
# BaseSize.of(diffusers' LTX2VideoTransformer3DModel() on the meta device); a run at 768x512, 49 frames, rank 32, all attention.
REAL, LOAD = BaseSize(48, 772_149_248, 771_751_936, 689_185_280), Load(2737, 1, 213_909_504)
FREE = int(23.5 * GIB), 64 * GIB


def _fill(base: Path) -> None:
    made = write_tiny_models(base / "tiny", checkpoint_name=CHECKPOINT, text_encoder_name=TEXT_ENCODER)
    for source, kind in zip(made, ("checkpoints", "text_encoders"), strict=True):
        (base / "models" / kind).mkdir(parents=True)
        source.rename(base / "models" / kind / source.name)
    write_inputs(base / "input")
    (base / "input" / "ltx2_clips" / "holiday.mp4").write_bytes(b"no film")
    (base / "input" / "ltx2_clips" / "holiday.txt").write_text("A day at the sea.", encoding="utf-8")


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    plan = dataclasses.asdict(choose(REAL, LOAD, *FREE).told(FREE[0]))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        _fill(base)
        with ComfyHost(base) as host:
            taken = run_script("screenshots.mjs", 500, url=host.url, out=str(out), run=RUN, plan=plan, prompt=PROMPT, workflow=str(PACK / "workflows" / "first_lora.json"))
    for name in taken["pictures"]:
        print(f"{name}: {os.path.getsize(out / name) // 1024} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PACK / "docs" / "images")
