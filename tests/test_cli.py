"""The command line: the same steps, one clear sentence for what is wrong."""

import json

import pytest

from ltx2core.cli import main
from ltx2core.demo_clips import write_demo_clips
from ltx2core.media.probe import probe
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma

SIZE = {"width": 96, "height": 64, "frames": 9}


@pytest.fixture
def run_file(tmp_path):
    write_tiny_checkpoint(tmp_path / "tiny.safetensors")
    write_tiny_gemma(tmp_path / "gemma.safetensors")
    write_demo_clips(tmp_path / "clips", count=2)
    run = {
        "checkpoint": "tiny.safetensors", "text_encoder": "gemma.safetensors", "output": "out", "name": "mine", "dataset": {"folder": "clips", **SIZE},
        "train": {"steps": 3, "dtype": "float32", "validate_every": 0},
        "samples": [{"name": "first", "prompt": "A red circle.", "settings": {**SIZE, "steps": 1, "video_cfg": 1.0}}],
    }  # fmt: skip
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run), encoding="utf-8")
    return path


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")
    return str(path)


def test_run_caches_trains_and_samples(run_file, capsys):
    assert main(["run", str(run_file), "--device", "cpu", "--log", str(run_file.parent / "events.jsonl")]) == 0
    out = run_file.parent / "out"
    assert (out / "mine.safetensors").is_file() and (out / "loss.png").is_file()
    assert probe(out / "first.mp4").frames == 9
    events = [json.loads(line) for line in (run_file.parent / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {"captions", "latents", "train", "sample"} <= {e.get("stage") for e in events}
    # Longer by two steps: it goes on, and nothing is encoded again.
    change(run_file, train={"steps": 5, "dtype": "float32", "validate_every": 0})
    capsys.readouterr()
    assert main(["train", str(run_file), "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert "goes on at step 3 of 5" in said and "0 encoded now, 2 read" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"checkpiont": "x"}, "no option 'checkpiont'; did you mean 'checkpoint'?"),
        ({"train": {"stesp": 3}}, "did you mean"),
        ({"checkpoint": "absent.safetensors"}, "No file at"),
        ({"dataset": {"folder": "nowhere"}}, "There is no folder"),
        ({"samples": [{"name": "x"}]}, "needs a value for prompt"),
    ],
)
def test_mistakes_are_one_sentence(run_file, capsys, values, said):
    assert main(["train", change(run_file, **values)]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in error if line.startswith("error: ")]) == 1 and said in error[-1]


def test_inspect(run_file, capsys):
    assert main(["inspect", str(run_file.parent / "tiny.safetensors"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["version"] == "2.0" and set(record["components"]) == {"transformer", "connectors", "video_vae", "audio_vae", "vocoder"}
    assert main(["inspect", str(run_file.parent / "tiny.safetensors")]) == 0
    assert "LTX-2 19B (version 2.0), flavour dev" in capsys.readouterr().out
    assert main(["inspect", str(run_file)]) == 1


def test_plan_says_how_a_run_fits(run_file, capsys):
    assert main(["plan", str(run_file), "--vram", "2", "--ram", "4"]) == 0
    assert "bf16 on the card" in capsys.readouterr().out
    assert main(["plan", str(run_file), "--vram", "0.1", "--ram", "4"]) == 1
    assert "Try, in this order" in capsys.readouterr().err
