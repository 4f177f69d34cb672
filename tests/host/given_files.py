"""The files that the notes of the shipped workflows ask a person to put into the input folder."""

import json
import shutil
from pathlib import Path

import torch
from PIL import Image

from ltx2core.media.audio import decode_audio
from ltx2core.media.probe import probe
from ltx2core.media.write import write_audio, write_video

CONFIG = {
    "model_family": "ltxvideo2", "model_type": "lora", "max_train_steps": 2, "learning_rate": 1e-3, "lora_rank": 4, "optimizer": "adamw", "mixed_precision": "no", "seed": 1,
    "output_dir": "taken_over", "validation_disable": True, "checkpoint_step_interval": 0, "data_backend_config": "backends.json",
}  # fmt: skip
BACKENDS = [{"id": "clips", "type": "local", "dataset_type": "video", "instance_data_dir": "ltx2_clips", "caption_strategy": "textfile", "resolution": 96,
             "video": {"num_frames": 9, "min_frames": 9}}]  # fmt: skip


def write_given(inputs: Path) -> None:
    """Beside ``ltx2_clips``, which is there: pictures, films, sounds, pairs, and the files of a SimpleTuner."""
    Image.new("RGB", (200, 150), (200, 60, 40)).save(inputs / "example.png")
    write_video(inputs / "example.mp4", torch.arange(0, 200, 5, dtype=torch.uint8)[:, None, None, None].expand(-1, 96, 128, 3), 25.0)
    for folder in ("ltx2_voice", "ltx2_references"):
        (inputs / folder).mkdir()
    for clip in sorted((inputs / "ltx2_clips").glob("*.mp4")):
        shutil.copy(clip, inputs / "ltx2_references")
        if probe(clip).has_audio:
            sound = decode_audio(clip, rate=48000)
            write_audio(inputs / "ltx2_voice" / f"{clip.stem}.wav", sound)
            shutil.copy(clip.with_suffix(".txt"), inputs / "ltx2_voice")
    write_audio(inputs / "example.wav", sound)
    (inputs / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (inputs / "backends.json").write_text(json.dumps(BACKENDS), encoding="utf-8")
