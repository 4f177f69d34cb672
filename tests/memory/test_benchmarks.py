"""The benchmarks say where no card is; rehearsed on a small model they measure what they promise."""

import importlib
import json
import sys

import pytest
import torch

NEED_A_CARD = ("caching", "card_limits", "check_steps", "end_to_end", "load", "sample_step", "train_step", "vae_memory")


def run(monkeypatch, name, *arguments):
    monkeypatch.setattr(sys, "argv", [f"benchmarks/{name}.py", *map(str, arguments)])
    return importlib.import_module(f"benchmarks.{name}").main()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a card is here")
@pytest.mark.parametrize("name", NEED_A_CARD)
def test_without_a_card_it_is_said(name, monkeypatch, capsys):
    assert run(monkeypatch, name) == 2
    assert "none is here" in capsys.readouterr().out


def test_every_case_of_a_step_is_near_float32(monkeypatch, tmp_path):
    assert run(monkeypatch, "check_steps", "--rehearse", "--paths", "bf16_hosted", "--json", tmp_path / "r.json") == 0
    rows = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["rows"]
    assert {r["case"] for r in rows} == {"audio_video", "first_frame", "tread", "video", "sound", "dropout"}
    assert {r["path"] for r in rows} == {"plain", "bf16_hosted"}
    assert all(0 < r["gradient_error_to_float32"] < 0.03 and r["loss_error_to_float32"] < 1e-3 for r in rows)


def test_steps_are_timed_with_routes_and_with_sound_alone(monkeypatch, tmp_path, capsys):
    profiles = ("plain", "bf16", "sound_alone")
    assert run(monkeypatch, "train_step", "--rehearse", "--steps", 1, "--cases", "whole", "tread", "--profiles", *profiles, "--json", tmp_path / "r.json") == 0
    rows = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["rows"]
    assert [(r["profile"], r["case"]) for r in rows] == [("plain", "whole"), ("plain", "tread"), ("bf16", "whole"), ("bf16", "tread"), ("sound_alone", "sound")]
    assert all(r["seconds"] > 0 and r["compiled_forms"] == 0 for r in rows)
    whole, routed = (r["loss"] for r in rows[2:4])
    assert whole != routed and abs(whole / routed - 1) < 0.05


def test_the_whole_path_is_walked_and_logged(monkeypatch, tmp_path):
    assert run(monkeypatch, "end_to_end", "--rehearse", "--folder", tmp_path, "--log", tmp_path / "events.jsonl", "--json", tmp_path / "r.json") == 0
    rows = {r["phase"]: r for r in json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["rows"]}
    assert list(rows) == ["write", "open", "cache", "train", "sample"] and rows["train"]["steps"] == 4
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    stages = list(dict.fromkeys(e["stage"] for e in events if e["event"] == "progress"))
    assert stages[:3] == ["scan", "captions", "latents"] and {"train", "sample", "decode"} <= set(stages)


def test_caching_is_timed_by_stage(monkeypatch, tmp_path):
    assert run(monkeypatch, "caching", "--rehearse", "--clips", 3, "--json", tmp_path / "r.json") == 0
    rows = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["rows"]
    assert [r["clips_at_once"] for r in rows] == [4, 1, 4]
    assert all("video VAE" in r["clips_told"] and "text encoder" in r["captions_told"] for r in rows)
