"""The benchmark of several cards, rehearsed on a small model without any."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.scaling import compared, settings_of
from ltx2core.distributed.fsdp import check_shardable
from ltx2core.train.settings import RunConfig

ROOT = Path(__file__).resolve().parents[2]
ALONE = {"mode": "ddp", "gpus": 1, "seconds": 1.0, "peak_reserved_gib": 40.0}


def benchmark(environment, *arguments):
    return subprocess.run([sys.executable, str(ROOT / "benchmarks" / "scaling.py"), *arguments], env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="two cards are here")
def test_it_says_what_it_needs(environment):
    done = benchmark(environment)
    assert done.returncode == 2 and "needs two or more NVIDIA cards" in done.stdout


def test_rehearsal(environment, tmp_path, request):
    """One card, then ddp and fsdp2 over two, of two precisions."""
    if not request.config.getoption("--full"):
        pytest.skip("takes a minute; with --full")
    done = benchmark(environment, "--rehearse", "--steps", "1", "--gpus", "2", "--json", str(tmp_path / "rows.json"), "--precisions", "bf16", "int8")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    record = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    rows = record["rows"]
    assert record["rehearsal"] and len(rows) == 6
    assert [r["gpus"] for r in rows[:2]] == [1, 2] and all(r["seconds"] > 0 and r["adapters_equal"] for r in rows)
    alone, last = [r for r in rows if r["gpus"] == 1][-1], rows[-1]
    assert last["mode"] == "fsdp2" and last["predicted_seconds"] > 0 and last["of_linear"] == pytest.approx(alone["seconds"] / last["seconds"], rel=1e-3)


def test_a_row_that_takes_too_long_is_ended(environment, tmp_path, request):
    if not request.config.getoption("--full"):
        pytest.skip("takes half a minute; with --full")
    done = benchmark(environment, "--rehearse", "--steps", "100000", "--gpus", "2", "--limit", "12", "--json", str(tmp_path / "rows.json"))
    assert done.returncode == 1 and "ddp bf16 on 1: failed (no end within 12 s)" in done.stdout


@pytest.mark.parametrize(
    ("row", "reached"),
    [
        ({"mode": "ddp", "seconds": 1.04}, True), ({"mode": "ddp", "seconds": 1.06}, False),
        ({"mode": "fsdp2", "peak_reserved_gib": 23.9}, True), ({"mode": "fsdp2", "peak_reserved_gib": 24.1}, False),
    ],
)  # fmt: skip
def test_goals(row, reached):
    """0.95 of linear, equal work a card being equal seconds; 0.6 of the peak."""
    common = {"gpus": 2, "seconds": 1.0, "peak_reserved_gib": 40.0, "bus_gb_per_s": 300, "gradient_bytes": 4e8, "blocks_bytes": 3.7e10}
    assert compared({**common, **row}, ALONE)["reached"] is reached


def test_what_it_shards_can_be_sharded():
    check_shardable(RunConfig(), settings_of("fsdp2", "int8", True))
