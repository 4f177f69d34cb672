"""What is said of every key, in Japanese and Chinese: no English but names, and values as they were written."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from ltx2core.simpletuner.dataset_keys import DATASET_REASONS
from ltx2core.simpletuner.importer import DIFFERENCES, import_config
from ltx2core.simpletuner.report import STATUSES, Report


def loaded(path):
    """From its file: ``nodes`` is a name that other programs have too."""
    spec = importlib.util.spec_from_file_location(f"ltx2_report_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


messages = loaded(Path(__file__).parents[2] / "nodes" / "messages.py")
every = loaded(Path(__file__).with_name("write_key_table.py"))
HERE = Path("/data")
ENGLISH = re.compile(r"[A-Za-z][a-z]+ (?:[a-z]+\b(?![_.*]))")
NAMES = {"ComfyUI", "SimpleTuner"}
# Values that read like sentences of this pack.
PROMPT = "Train more steps. it is empty; it is off: CREPA is off"
MANY = {
    "max_train_steps": 0, "num_train_epochs": 0, "use_ema": False, "crepa_enabled": True, "resume_from_checkpoint": "latest", "report_to": "tensorboard,comet_ml",
    "base_model_precision": "nf4-bnb", "optimizer": "torch-adamw", "optimizer_config": "weight_decay=0.1,eps=1", "scheduled_sampling_sampler": "euler",
    "scheduled_sampling_order": 3, "scheduled_sampling_max_step_offset": 2, "validation_using_datasets": True, "validation_adapter_path": "a/b:c.safetensors",
    "twinflow_enabled": True, "huber_schedule": "snr", "loss_type": "huber", "flow_schedule_auto_shift": True, "flow_schedule_shift": 0, "lr_scheduler": "constant",
    "validation_disable": True, "validation_prompt": PROMPT, "vae_enable_tiling": True, "vae_enable_temporal_roll": True, "ramtorch_text_encoder": True,
}  # fmt: skip
CONFIGURATIONS = [
    {"max_train_steps": 10, **{k: v for k, v in MANY.items() if k not in ("max_train_steps", "num_train_epochs")}},
    {"max_train_steps": 10, "adam_beta1": 0.8, "lora_alpha": None, "learning_rate": 1e-4, "lr_scale": True, "validation_prompt": PROMPT, "use_ema": None},
    *({**every.ON, **other, "validation_prompt": PROMPT} for other in every.OTHERWISE),
]
BACKENDS = [
    {**every.DATASET, **dict.fromkeys(DATASET_REASONS, 1), "id": "clips", "conditioning_type": None, "crop": True, "crop_style": "face", "resolution_type": "pixel", "video": {"num_frames": 49, "is_i2v": True},
     "audio": {"channels": 1, "sample_rate": 16000, "duration_interval": 3.0, "truncation_mode": "end"}, "repeats": None, "probability": 0.5, "timestep_sampling_offset": 0.1},
    {"id": "light", "type": "local", "dataset_type": "conditioning", "conditioning_type": "segmentation", "source_dataset_id": "clips", "instance_data_dir": "m", "caption_strategy": "filename"},
    {"id": "cats, dogs", "type": "local", "dataset_type": "video", "instance_data_dir": "x", "caption_strategy": "filename", "disabled": True, "resolution_type": "area", "resolution": 1.0},
    {"id": "text-embeds", "type": "local", "dataset_type": "text_embeds", "default": True, "cache_dir": "cache/text"},
]  # fmt: skip


@pytest.fixture(params=["ja", "zh"])
def say(request):
    return messages.catalogue(request.param).say


@pytest.fixture(scope="module")
def entries():
    """Of every option that there is."""
    return every.entries()


def english(text):
    """What reads like English in ``text``."""
    return [found for found in ENGLISH.findall(text) if found.split()[0] not in NAMES]


def parts(line, entry):
    """What is this pack's in the line of an entry."""
    written = f"  {entry.key} = {entry.value!r}" + (f" -> {entry.where}" if entry.where else "")
    assert line.startswith(written)
    return line.removeprefix(written)


@pytest.mark.parametrize("config", CONFIGURATIONS)
def test_a_report_is_told_and_names_and_values_stay(config, say):
    report = import_config(config, BACKENDS, HERE).report
    told, plain = report.said(say).split("\n"), str(report).split("\n")
    assert len(told) == len(plain) and str(report) == report.said()
    ordered = [e for source in dict.fromkeys(e.source for e in report.entries) for s in STATUSES for e in report.entries if (e.source, e.status) == (source, s)]
    of_entries = [line for line in told[: -len(DIFFERENCES)] if line.startswith("  ")]
    for line, entry in zip(of_entries, ordered, strict=True):
        rest = parts(line, entry)
        assert not english(rest), line
        assert not entry.note or say(entry.note) != entry.note and say(entry.note) in rest
        assert ("LOST" in str(entry.said())) == entry.loss and "LOST" not in rest
    for line in (line for line in told if line and line not in of_entries):
        assert not english(line), line
    assert not set(filter(None, plain)) & set(told) - {f"  {e.said()}" for e in ordered if not (e.note or e.default or e.loss)}
    assert any(repr(PROMPT) in line for line in told)


def test_every_note_is_told(entries, say):
    for entry in entries:
        if entry.note:
            assert not english(say(entry.note)) and say(entry.note) != entry.note, entry


def test_counts_are_told_whether_something_is_lost_or_not(entries, say):
    for report in (Report(tuple(e for e in entries if not e.loss)), Report(tuple(entries))):
        first = report.said(say).split("\n")[0]
        assert not english(first) and str(len([e for e in report.entries if not e.default])) in first
