"""docs/training.md names every option and every key, and its tests exist."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from ltx2core.runspec import RunFile
from ltx2core.train.conditioning import ConditioningSettings
from ltx2core.train.crepa import CrepaSettings
from ltx2core.train.reflexflow import ReflexFlowSettings
from ltx2core.train.rollout_settings import RolloutSettings
from ltx2core.train.settings import LoRASettings, TimestepSettings, TrainSettings
from ltx2core.train.tracking_settings import TrackingSettings
from ltx2core.train.tread import TreadRoute

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
RECORDS = {
    "lora.": LoRASettings, "": TrainSettings, "timesteps.": TimestepSettings, "conditioning.": ConditioningSettings, "crepa.": CrepaSettings,
    "rollout.": RolloutSettings, "reflexflow.": ReflexFlowSettings, "tracking.": TrackingSettings,
}  # fmt: skip
NESTED = {"timesteps", "conditioning", "crepa", "rollout", "reflexflow", "tracking"}


@pytest.mark.parametrize("prefix", RECORDS)
def test_every_option_is_in_the_table(prefix):
    named = set(re.findall(r"`([\w.]+)`", TEXT))
    assert not [f.name for f in fields(RECORDS[prefix]) if prefix + f.name not in named and f.name not in NESTED]


def test_routes_and_keys_are_named():
    named = set(re.findall(r"`([\w.]+)`", TEXT))
    assert {f.name for kind in (TreadRoute, RunFile) for f in fields(kind)} <= named


def test_every_test_of_the_table_exists():
    cells = re.findall(r"`([\w/]*test_\w+\.py)::(test_\w+)`", TEXT)
    assert len(cells) > 70
    for file, name in cells:
        path = ROOT / (file if "/" in file else f"tests/train/{file}")
        assert re.search(rf"^def {name}\(", path.read_text(encoding="utf-8"), re.MULTILINE), f"{file}::{name}"


def test_every_file_of_the_table_exists():
    rows = [line.split("|") for line in TEXT.splitlines() if line.startswith("| ") and line.count("|") == 5]
    files = {name for row in rows for name in re.findall(r"`([\w/]+\.py)`", row[3])}
    assert len(files) > 25
    assert not [f for f in files if not (ROOT / "ltx2core" / "train" / f).exists() and not (ROOT / "ltx2core" / f).exists()]
