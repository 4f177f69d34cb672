"""The losses of a run over HTTP, and nothing else."""

import json
import os

import pytest

pytestmark = pytest.mark.host


@pytest.fixture
def runs(comfy):
    folder = comfy.base / "output" / "ltx2_runs" / "charted" / "deep"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"event": "step", "step": i, "video": 1.0 / i, "audio": None} for i in range(1, 5001)]
    rows.insert(2500, {"event": "validation", "step": 2500, "video": 0.5, "audio": None})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"event": "st', encoding="utf-8")
    secret = comfy.base / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "metrics.jsonl").write_text('{"event": "step", "step": 1, "video": 1}\n', encoding="utf-8")
    return folder.parent.parent


def test_steps_are_thinned_and_validations_kept(comfy, runs):
    found = comfy.get("/ltx2/runs/charted/deep/metrics")
    assert 1000 < len(found["steps"]) <= 2000 and found["steps"][0]["step"] == 1 and len(found["validation"]) == 1


def test_unknown_runs_are_empty(comfy, runs):
    assert comfy.get("/ltx2/runs/absent/metrics") == {"steps": [], "validation": []}


@pytest.mark.parametrize("name", ["..%2F..%2Fsecret", "charted%2F..%2F..%2F..%2Fsecret", "%2Fetc", "charted%00", "C%3A%5Csecret"])
def test_names_cannot_leave_the_folder(comfy, runs, name):
    assert comfy.get(f"/ltx2/runs/{name}/metrics") == {"steps": [], "validation": []}


@pytest.mark.skipif(os.name == "nt", reason="links need a right on Windows")
def test_links_are_not_followed_out(comfy, runs):
    (runs / "linked").symlink_to(comfy.base / "secret", target_is_directory=True)
    assert comfy.get("/ltx2/runs/linked/metrics") == {"steps": [], "validation": []}
