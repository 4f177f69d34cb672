"""What a ComfyUI of the tests is given."""

from pathlib import Path

from ltx2core.demo_clips import write_demo_clips
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma

CHECKPOINT, TEXT_ENCODER, CLIPS = "ltx-2-19b-dev.safetensors", "gemma_3_12B_it.safetensors", "ltx2_clips"


def fill_base(base: Path) -> None:
    """Tiny models under the names that the shipped workflows use."""
    for name in ("models/checkpoints", "models/text_encoders", "input"):
        (base / name).mkdir(parents=True, exist_ok=True)
    write_tiny_checkpoint(base / "models" / "checkpoints" / CHECKPOINT)
    write_tiny_gemma(base / "models" / "text_encoders" / TEXT_ENCODER)
    write_demo_clips(base / "input" / CLIPS, count=4)
