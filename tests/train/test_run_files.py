"""Run files that carry previews, other datasets, an adapter to begin with, and a path to resume from."""

import json

import pytest
import torch
from safetensors.torch import load_file

from ltx2core.checkpoint.adapter import Adapter
from ltx2core.cli import main
from ltx2core.demo_clips import write_demo_clips
from ltx2core.errors import LTX2Error
from ltx2core.media.probe import probe
from ltx2core.media.video import decode_video
from ltx2core.run import Runner, RunFile, read_run
from ltx2core.sample.recipe import read_tags
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma

SIZE = {"width": 96, "height": 64, "frames": 9}
TRAIN = {"steps": 4, "dtype": "float32", "validate_every": 0, "checkpoint_every": 2, "learning_rate": 1e-2, "warmup": 0}
FILM = {"name": "fox", "prompt": "A red circle.", "settings": {**SIZE, "steps": 1, "video_cfg": 1.0}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_tiny_checkpoint(folder / "tiny.safetensors")
    write_tiny_gemma(folder / "gemma.safetensors")
    write_demo_clips(folder / "clips", count=3)
    return folder


@pytest.fixture
def write(folder):
    def make(name, **values):
        run = {"checkpoint": "tiny.safetensors", "text_encoder": "gemma.safetensors", "output": "out", "name": name, "lora": {"rank": 2}, "train": TRAIN}
        sets = {} if values.keys() & {"caches", "datasets"} else {"dataset": {"folder": "clips", **SIZE}}
        path = folder / f"{name}.json"
        path.write_text(json.dumps({**run, **sets, **values}), encoding="utf-8")
        return path

    return make


def train(path):
    assert main(["train", str(path), "--device", "cpu"]) == 0
    return load_file(path.parent / "out" / f"{path.stem}.safetensors")


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_previews_of_a_run_file(write, folder):
    plain = train(write("plain"))
    watched = train(write("watched", train={**TRAIN, "preview_every": 2}, previews=[FILM]))
    made = sorted((folder / "out" / "runs" / "watched" / "previews").iterdir())
    assert [p.name for p in made] == [f"step-{s:06d}-fox.mp4" for s in (0, 2, 4)]
    assert all((probe(p).width, probe(p).height, probe(p).frames) == (96, 64, 9) for p in made)
    assert equal(plain, watched)


def test_references_of_previews_and_samples(write, folder):
    clip = sorted((folder / "clips").glob("*.mp4"))[0]
    films = [{**FILM, "name": name, "reference": f"clips/{clip.name}", "strength": strength} for name, strength in (("follows", 1.0), ("base", 0.0))]
    run = read_run(write("followed", previews=[{k: v for k, v in films[0].items() if k != "strength"}], samples=[*films, FILM, {**FILM, "name": "bare", "strength": 0.0}]))
    runner = Runner(run, PlainResidency(torch.device("cpu")), ConsoleReporter(quiet=True), StopFlag())
    (job,) = runner.previews()
    assert torch.equal(job.reference.frames, decode_video(clip, frame_rate=25, num_frames=9))
    generator = torch.Generator().manual_seed(0)
    layer = {"transformer_blocks.0.attn1.to_q": (torch.randn(2, 128, generator=generator), torch.randn(128, 2, generator=generator))}
    paths = runner.sample(Adapter("ic", layer, "2.0", {"reference_downscale_factor": "1"}))
    follows, base, fox, bare = (decode_video(path, frame_rate=25, num_frames=9) for path in paths)
    assert torch.equal(base, bare) and not torch.equal(follows, fox)


def test_every_seed_of_a_sample_is_a_file(write, folder):
    settings = FILM["settings"]
    films = [{**FILM, "name": name, "strength": 0.0, "settings": {**settings, **seeds}} for name, seeds in (("listed", {"seeds": [5, 9]}), ("counted", {"batch": 2, "seed": 8}), ("alone", {"seed": 9}))]
    runner = Runner(read_run(write("seeds", samples=films)), PlainResidency(torch.device("cpu")), ConsoleReporter(quiet=True), StopFlag())
    paths = runner.sample()
    assert [p.name for p in paths] == ["listed_seed5.mp4", "listed_seed9.mp4", "counted_seed8.mp4", "counted_seed9.mp4", "alone.mp4"]
    films = [decode_video(path, frame_rate=25, num_frames=9).float() for path in paths]
    # A batch's rounding is not that of one clip; other noise is far away.
    assert all((films[i] - films[4]).abs().mean() < 1 for i in (1, 3)) and all((films[i] - films[4]).abs().mean() > 10 for i in (0, 2))
    recipes = [json.loads(read_tags(path)["comment"]) for path in paths]
    assert [r["seed"] for r in recipes] == [5, 9, 8, 9, 9] and all(r["batch"] == 1 for r in recipes)


def test_a_preview_is_one_clip_of_its_first_seed(write, folder):
    reporter = ConsoleReporter(folder / "one.jsonl", quiet=True)
    run = read_run(write("previewed", train={**TRAIN, "steps": 1, "preview_every": 1}, previews=[{**FILM, "settings": {**FILM["settings"], "seeds": [5, 9]}}]))
    runner = Runner(run, PlainResidency(torch.device("cpu")), reporter, StopFlag())
    runner.train()
    assert probe(folder / "out" / "runs" / "previewed" / "previews" / "step-000001-fox.mp4").frames == 9
    assert (folder / "one.jsonl").read_text(encoding="utf-8").count("fox is made of seed 5 alone") == 1


def test_runs_share_a_cache_by_its_folder(write, folder, capsys):
    for name in ("first", "second"):
        assert main(["cache", str(write(name, output=f"out_{name}", cache_dir="shared")), "--device", "cpu"]) == 0
    assert "0 encoded now, 3 read" in "".join(capsys.readouterr())
    assert len(list((folder / "shared" / "manifests").iterdir())) == 1 and not (folder / "out_second" / "cache").exists()


def test_an_adapter_and_a_checkpoint_to_begin_with(write, folder):
    begun = train(write("begun"))
    still = train(write("still", adapter="out/begun.safetensors", train={**TRAIN, "learning_rate": 0.0}))
    # A saved adapter is bf16; trained with rate 0 it comes out as it went in.
    assert equal({k: v.float() for k, v in begun.items()}, {k: v.float() for k, v in still.items()})
    again = train(write("again", train={**TRAIN, "resume": "out/runs/begun/state-00000002.safetensors"}))
    assert equal(again, begun)


def test_regularisation_and_validation_sets(write):
    sets = {"folder": "clips", **SIZE}
    both = train(write("both", regularisation={**sets, "frames": 1}, validation_dataset=sets))
    assert not equal(both, train(write("one")))


@pytest.mark.parametrize(("values", "said"), [
    ({"previews": [{**FILM, "strength": 0.5}]}, "has strength 0.5"),
    ({"previews": [{"name": "x"}]}, "needs a value for prompt"),
    ({"caches": {"train": "a", "validate": "b"}}, "did you mean 'validation'"),
    ({"caches": {"train": "a"}, "dataset": {"folder": "clips"}}, "give one of them"),
    ({"text_encoder": ""}, "text_encoder is empty"),
    ({"version": 7}, "has version 7"),
])  # fmt: skip
def test_what_is_wrong_is_named(write, values, said):
    with pytest.raises(LTX2Error, match=said):
        read_run(write("wrong", **values))


def test_paths_are_beside_the_file(write, folder):
    run = read_run(write("paths", adapter="start.safetensors", train={**TRAIN, "resume": "old"}, previews=[{**FILM, "image": "a.png", "reference": "b.mp4"}]))
    assert run.adapter == str(folder / "start.safetensors") and run.config.train.resume == str(folder / "old")
    assert (run.preview_jobs[0].image, run.preview_jobs[0].reference) == (str(folder / "a.png"), str(folder / "b.mp4"))
    assert isinstance(run, RunFile) and read_run(write("plain2")).config.train.resume == "auto"
