"""Writes the tables of docs/simpletuner.md by importing a configuration in which every option is written:
python tests/simpletuner/write_key_table.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from ltx2core.simpletuner import methods, validation  # noqa: E402
from ltx2core.simpletuner.dataset_keys import AUDIO_KEYS, AUDIO_ROWS, DATASET_KEYS, DATASET_REASONS, DATASET_ROWS, TABLE_KEYS, TABLE_ROWS, VIDEO_KEYS, VIDEO_ROWS  # noqa: E402
from ltx2core.simpletuner.idle import NEUTRAL, REASONS  # noqa: E402
from ltx2core.simpletuner.importer import DIFFERENCES, KNOWN, import_config  # noqa: E402
from ltx2core.simpletuner.report import IDLE, Entry  # noqa: E402
from ltx2core.simpletuner.options import as_flag, as_number, as_whole  # noqa: E402
from ltx2core.simpletuner.rows import ALIASES, ROWS  # noqa: E402

DOCUMENT = ROOT / "docs" / "simpletuner.md"
BEGIN, END = "<!-- made by tests/simpletuner/write_key_table.py -->", "<!-- end -->"
# Every method on, so that its options say where they go.
ON = {
    "model_family": "ltxvideo2", "model_type": "lora", "max_train_steps": 5, "learning_rate": 1e-4, "lr_scheduler": "polynomial", "lr_scale": True, "use_ema": True,
    "crepa_enabled": True, "scheduled_sampling_max_step_offset": 3, "scheduled_sampling_reflexflow": True, "flow_use_beta_schedule": True, "instance_prompt": "a fox",
    "validation_prompt": "A dog.", "validation_step_interval": 50, "enable_group_offload": True, "report_to": "tensorboard", "push_to_hub": True, "hub_model_id": "me/lora",
    "tread_config": {"routes": []}, "peft_lora_target_modules": ["to_k"], "init_lora": "start.safetensors", "base_model_precision": "int8-quanto",
}  # fmt: skip
# Options that exclude one another each get a turn.
OTHERWISE = (
    {}, {"enable_group_offload": False, "ramtorch": True, "ramtorch_transformer_percent": 50},
    {"enable_group_offload": False, "musubi_blocks_to_swap": 4, "musubi_block_swap_device": "cpu"},
    {"lr_scheduler": "cosine_with_restarts", "lr_num_cycles": 2, "flow_use_beta_schedule": False, "flow_use_uniform_schedule": True},
)  # fmt: skip
SAMPLES = {
    "loss_type": "l2", "output_dir": "out", "group_offload_type": "block_level", "group_offload_blocks_per_group": 1, "group_offload_use_stream": True,
    "crepa_scheduler": "cosine", "crepa_threshold_mode": "permanent", "scheduled_sampling_ramp_shape": "linear", "scheduled_sampling_strategy": "uniform",
    "resume_from_checkpoint": "latest", "caption_strategy": "textfile",
}  # fmt: skip
_BY_KIND = {as_flag: True, as_whole: 1, as_number: 0.1}
DATASET = {"type": "local", "dataset_type": "video", "instance_data_dir": "clips", "caption_strategy": "textfile", "conditioning_type": "reference_strict", "id": "d"}


def entries() -> list[Entry]:
    """One of every option of the configuration and of a dataset; "video.num_frames" for nested ones."""
    kinds = {row.key: row.kind for row in ROWS} | {k: kind for table in (methods._CREPA, methods._ROLLOUT) for k, (_, kind) in table.items()}
    kinds |= dict.fromkeys(validation._SETTINGS, as_whole) | {"lora_rank": as_whole, "lora_alpha": as_number, "lora_dropout": as_number}
    given = {key: _BY_KIND.get(kinds.get(key)) for key in KNOWN if key not in ALIASES} | SAMPLES | ON
    names = [*DATASET_KEYS, *DATASET_ROWS, *DATASET_REASONS]
    numbers = {name: 1 for name in (*DATASET_ROWS,)}
    dataset = {name: numbers.get(name) for name in names} | DATASET
    dataset |= {"video": {**dict.fromkeys(VIDEO_KEYS), **dict.fromkeys(VIDEO_ROWS, 9), "bucket_strategy": "resolution_frames"}}
    dataset |= {"audio": {**dict.fromkeys(AUDIO_KEYS), **dict.fromkeys(AUDIO_ROWS, 1), "auto_split": True, "allow_zero_audio": False, "truncation_mode": "end"}}
    dataset |= {"parquet": {**dict.fromkeys(TABLE_KEYS), **dict.fromkeys(TABLE_ROWS, "x")}}
    found: dict[tuple[str, str], Entry] = {}
    for other in OTHERWISE:
        for entry in import_config(given | other, [dataset], Path("/data")).report.entries:
            place = entry.source, entry.key
            if not entry.default and (place not in found or found[place].status == IDLE):
                found[place] = entry
    return list(found.values())


def _rows(found: list[Entry], prefix: str = "") -> list[str]:
    return [f"| `{prefix}{e.key}` | {e.status} | {f'`{e.where}`' if e.where else ''} | {e.note} |" for e in sorted(found, key=lambda e: e.key)]


def tables() -> str:
    every = entries()
    config = [e for e in every if e.source == "config"]
    used = [e for e in config if e.key not in REASONS]
    data = [(e, e.source.removeprefix("dataset d").lstrip(".")) for e in every if e.source.startswith("dataset") and e.key not in DATASET_REASONS]
    head = "| option | here | where | note |\n|---|---|---|---|"
    lines = ["### Options of the configuration", "", head, *_rows(used), "", "### Keys of a dataset", "", head]
    for block in ("", "video", "audio", "parquet"):
        lines += _rows([e for e, b in data if b == block], f"{block}." if block else "")
    lines += ["", "### Not applicable", "", "Options in **bold** change the result; a value other than their neutral one is marked LOST.", "", "| why | options |", "|---|---|"]
    for reasons, neutral in ((REASONS, NEUTRAL), (DATASET_REASONS, {})):
        for reason in dict.fromkeys(reasons.values()):
            names = [f"**`{n}`**" if n in neutral else f"`{n}`" for n, r in sorted(reasons.items()) if r == reason]
            lines.append(f"| {reason} | {', '.join(names)} |")
    return "\n".join([*lines, "", "### Always otherwise", "", *(f"- {d}" for d in DIFFERENCES)])


def document() -> str:
    text = DOCUMENT.read_text(encoding="utf-8")
    return f"{text[: text.index(BEGIN)]}{BEGIN}\n{tables()}\n{END}{text[text.index(END) + len(END):]}"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
    assert not [e for e in entries() if e.status == IDLE and not e.note]
