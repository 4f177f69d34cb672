"""Takes the pictures of the shipped workflows, each from a real run on tiny models: in the list of templates they stand for it.

usage: NODE_PATH=<folder>/node_modules python tests/browser/thumbnails.py [--models FOLDER] [NAME ...]

FOLDER holds the tiny models of an earlier demo; without it they are made, which takes minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "host"), str(HERE.parents[1])]

from browser_tools import run_script  # noqa: E402
from comfy_host import PACK, QUICK, ComfyHost  # noqa: E402
from given_files import write_given  # noqa: E402
from screenshots import fill  # noqa: E402

from ltx2core.demo import PROMPT, SAMPLE, SIZE  # noqa: E402

TRAINING = {"steps": 60, "warmup": 5, "dtype": "float32", "learning_rate": 5e-3, "batch_size": 2, "checkpoint_every": 0, "validate_every": 15}
SAMPLING = {**SIZE, "steps": SAMPLE["steps"], "video_cfg": SAMPLE["video_cfg"]}
FILM = "SaveVideo"
# What is seen of each workflow, in the order in which they are run: later ones use the LoRAs of earlier ones.
SEEN = {
    "first_lora": ["LTX2TrainLoRA"], "continue_run": ["LTX2TrainSegment"], "subject_24gb": ["LTX2VideoDataset"], "lowest_vram": ["LTX2MemorySettings"],
    "style_with_sound": ["LTX2TrainLoRA", "LTX2ApplyAdapters"], "voice": ["LTX2SampleSound", "SaveAudio"], "image_to_video_lora": ["LTX2TrainLoRA"],
    "ic_lora": ["LTX2TrainLoRA"], "simpletuner_import": ["LTX2ImportSimpleTuner", "PreviewAny"], "text_to_video": ["LTX2Decode", FILM], "image_to_video": ["LoadImage"],
    "sound_to_video": ["LoadAudio"], "validation": ["LTX2Validate"], "two_stages": ["LTX2UpscaleLatents", "LTX2RefineLatents"],
    "reference_video": ["Canny", "LTX2SampleReference"], "native_sampling": ["SamplerCustomAdvanced", "LTX2FromNativeLatent"],
}  # fmt: skip
# They want models of which there are no small ones here, or a graphics card.
STILL = ("two_stages", "reference_video", "native_sampling", "lowest_vram")
QUICKER = {
    **QUICK, "LTX2TrainSettings": TRAINING, "LTX2TrainPreset": {"steps": 30, "checkpoint_every": 0, "validate_every": 10},
    "LTX2TrainingPreview": {**SAMPLING, "every": 30}, "LTX2TrainSegment": {"segment_steps": 60}, "LTX2PromptLibrary": {"only": "motion, music"},
    "LTX2Validate": {"seeds": "1"}, "LTX2SampleSettings": SAMPLING, **{kind: SAMPLING for kind in ("LTX2SampleT2V", "LTX2SampleI2V", "LTX2SampleS2V")},
}  # fmt: skip
OWN = {"continue_run": {"LTX2TrainSettings": {**TRAINING, "steps": 180}}}


def jobs(names: list[str]) -> list[dict]:
    return [{"name": n, "types": SEEN[n], "run": n not in STILL, "widgets": {} if n in STILL else {**QUICKER, **OWN.get(n, {})}} for n in SEEN if n in names]


def main(models: Path | None, names: list[str]) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        fill(base, models)
        (base / "input" / "ltx2_clips" / "holiday.mp4").unlink()  # the one that cannot be read belongs to another picture
        picture = (base / "input" / "example.png").read_bytes()
        write_given(base / "input")
        (base / "input" / "example.png").write_bytes(picture)  # there is something to see on the demo's
        shutil.copy(next((base / "input" / "ltx2_clips").glob("clip*.mp4")), base / "input" / "example.mp4")
        with ComfyHost(base) as host:
            taken = run_script("thumbnails.mjs", 1500, url=host.url, folder=str(PACK / "workflows"), workflows=jobs(names), prompt=PROMPT)
    for name in taken["pictures"]:
        print(f"{name}: {os.path.getsize(PACK / 'workflows' / name) // 1024} KiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SEEN))
    parser.add_argument("--models", type=Path)
    given = parser.parse_args()
    main(given.models, given.names)
