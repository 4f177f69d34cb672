"""A run in pieces ends as one in a single piece; the run file that is written beside an adapter repeats it."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from ltx2core.checkpoint.adapter import save_adapter
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.cli import main
from ltx2core.errors import LTX2Error
from ltx2core.memory.training import train_lora
from ltx2core.models.handle import Models
from ltx2core.run_record import write_run_record
from ltx2core.train.segment import reached_step, segment_end
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.tracking_settings import TrackingSettings

RUN = RunConfig(
    LoRASettings(rank=2, dropout=0.1),
    TrainSettings(steps=5, learning_rate=1e-2, warmup=1, schedule="linear", checkpoint_every=0, validate_every=2, validation_clips=1, dtype="float32",
                  tracking=TrackingSettings(hub_model_id="nobody/nothing")),
)  # fmt: skip


@pytest.fixture
def cache(tmp_path, make_cache):
    return make_cache(tmp_path / "cache")


@pytest.fixture
def models(tiny_file):
    return Models(open_checkpoint(tiny_file), torch.float32)


@pytest.fixture
def go(models, cache, tmp_path, surroundings):
    return lambda name, **others: train_lora(models, RUN, cache, directory=tmp_path / name, name="fox", **{**surroundings, **others})


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(x, y) for m in a for x, y in zip(a[m], b[m], strict=True))


def test_pieces_make_the_whole(go, tmp_path):
    directory, reached = tmp_path / "pieces", []
    for _ in range(4):
        part = go("pieces", until=segment_end(directory, 2, RUN.train))
        reached.append((part.steps, reached_step(directory)))
    assert reached == [(2, 2), (4, 4), (5, 5), (5, 5)]
    whole = go("whole")
    assert equal(part.adapter.layers, whole.adapter.layers) and part.history.steps == whole.history.steps and part.validation == whole.validation


def test_a_piece_is_what_a_run_has_learned_by_then(go, tmp_path):
    piece = go("pieces", until=3)
    assert not equal(piece.adapter.layers, go("pieces").adapter.layers) and equal(piece.adapter.layers, go("again", until=3).adapter.layers)


def test_where_nothing_is_a_piece_begins_at_0(tmp_path):
    assert reached_step(tmp_path / "none") == 0 and segment_end(tmp_path / "none", 99, RUN.train) == 5
    with pytest.raises(LTX2Error, match="set resume to auto"):
        segment_end(tmp_path, 1, replace(RUN.train, resume="new"))
    with pytest.raises(LTX2Error, match="segment_steps"):
        segment_end(tmp_path, 0, RUN.train)


@pytest.mark.parametrize("continued", [False, True])
def test_the_written_run_file_repeats_the_run(go, models, cache, tmp_path, continued):
    start = go("start", until=1).adapter if continued else None
    done = go("run", adapter=start, validation=cache)
    file = save_adapter(tmp_path / "loras" / "fox.safetensors", done.adapter)
    record = write_run_record(tmp_path / "loras" / "fox.json", models, RUN, cache, name="animals/fox", directory=tmp_path / "run", adapter=start, validation=cache)
    said = json.loads(record.read_text(encoding="utf-8"))
    assert said["version"] == 1 and said["train"]["steps"] == 5 and said["caches"].keys() == {"train", "validation"}
    assert said["train"]["tracking"]["hub_model_id"] == "" and ("adapter" in said) == continued
    assert main(["train", str(record), "--device", "cpu"]) == 0
    again = load_file(tmp_path / "loras" / "fox_again" / "fox.safetensors")
    ours = load_file(file)
    assert again.keys() == ours.keys() and all(torch.equal(again[k], ours[k]) for k in ours)


def test_a_run_file_of_a_later_pack_is_refused(tmp_path, capsys):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"version": 2, "checkpoint": "a", "text_encoder": "", "caches": {"train": "b"}}), encoding="utf-8")
    assert main(["train", str(path)]) == 1 and "has version 2" in capsys.readouterr().err
