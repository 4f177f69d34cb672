"""Whole files: the guide's lowest-memory configuration, every style of writing, and a run that trains."""

import json
import shutil
from pathlib import Path

import pytest

from ltx2core.cli import main
from ltx2core.demo_clips import write_demo_clips
from ltx2core.errors import LTX2Error
from ltx2core.runfile import Runner, read_run
from ltx2core.simpletuner.importer import import_config, import_files
from ltx2core.simpletuner.source import read_config
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma


def test_the_guides_lowest_memory_configuration_loses_nothing(lowest, backends, tmp_path):
    imported = import_config(lowest, backends, tmp_path)
    assert imported.report.losses == ()
    assert {e.key for e in imported.report.entries if e.source == "config" and not e.default} == set(lowest)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(imported.run), encoding="utf-8")
    run = read_run(path)
    train, lora, memory, vae, spec, job = run.config.train, run.config.lora, run.memory_settings, run.vae_memory, run.specs[0], run.jobs[0]
    assert (train.learning_rate, train.warmup, train.max_grad_norm, train.steps, train.optimizer, train.batch_size, train.seed) == (6e-5, 50, 0.1, 200, "adamw_bf16", 2, 42)
    assert (train.checkpoint_every, train.reflexflow, train.schedule) == (100, None, "constant") and (lora.kind, lora.rank) == ("lora", 16)
    assert (memory.precision, memory.streamed) == ("int8", 48)
    assert (vae.batch_size, vae.patch_conv, vae.slicing, vae.temporal_roll) == (1, True, True, True) and vae.tiling is not None
    settings = job.settings
    assert (settings["video_cfg"], settings["steps"], settings["frames"], settings["width"], settings["height"], settings["seed"]) == (5, 40, 81, 768, 512, 42)
    assert (spec.width * spec.height, spec.frames, spec.min_frames, spec.repeats, spec.audio) == (480 * 480, 61, 57, 10, True)


STYLES = {
    "config.json": '{"--learning_rate": 6e-05, "train_batch_size": 2, "ramtorch": true, "validation_prompt": "A dog runs."}',
    "config.toml": 'learning_rate = 6e-5\ntrain_batch_size = 2\nramtorch = true\nvalidation_prompt = "A dog runs."\n',
    "config.env": "# a comment\nexport LEARNING_RATE=6e-5\nTRAIN_BATCH_SIZE=2\nVALIDATION_PROMPT='A dog runs.'\nTRAINER_EXTRA_ARGS=\"--ramtorch\"\n",
    "arguments.txt": "--learning_rate=6e-5 --train_batch_size 2 \\\n --ramtorch --validation_prompt 'A dog runs.'\n",
    "list.json": '["--learning-rate=6e-5", "--train_batch_size", "2", "--ramtorch", "--validation_prompt=A dog runs."]',
}


@pytest.mark.parametrize("name", STYLES)
def test_every_style_of_writing_gives_the_same_run(name, tmp_path, backends):
    (tmp_path / name).write_text(STYLES[name], encoding="utf-8")
    run = import_config({**read_config(tmp_path / name), "max_train_steps": 5}, backends, tmp_path).run
    assert (run["train"]["learning_rate"], run["train"]["batch_size"], run["memory"], run["samples"][0]["prompt"]) == (6e-5, 2, {"ramtorch": True}, "A dog runs.")


def test_environment_names_that_differ_from_their_options(tmp_path):
    (tmp_path / "config.env").write_text("MAX_NUM_STEPS=7\nCHECKPOINTING_STEPS=3\nTRAINING_SEED=9\nTRAINER_EXTRA_ARGS='--lora_rank=8'\nTRAINER_EXTRA_ARGS+='--use_ema'\n", encoding="utf-8")
    assert read_config(tmp_path / "config.env") == {"max_train_steps": "7", "checkpoint_step_interval": "3", "seed": "9", "lora_rank": "8", "use_ema": True}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("a.json", "{", "no JSON"), ("a.json", "3", "holds a int"), ("a.toml", "x =", "no TOML"), ("a.env", "no sign", "NAME=value"), ("a.txt", "--x 'open", "quote"),
     ("a.txt", "--a=1 stray", "stray"), ("a.json", "\xff\xfe".encode("latin-1"), "cannot be read"), ("a.json", b"[" * 100_000, "no JSON")],
)  # fmt: skip
def test_broken_files_are_one_sentence(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LTX2Error, match=said):
        read_config(tmp_path / name)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write_tiny_checkpoint(folder / "tiny.safetensors")
    write_tiny_gemma(folder / "gemma.safetensors")
    write_demo_clips(folder / "datasets" / "videos", count=3)
    return folder


@pytest.fixture
def files(made, tmp_path, lowest, backends):
    """A configuration for tiny models, in the guide's form."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    # Streaming needs a card; everything else stays.
    config = {k: v for k, v in lowest.items() if k not in ("ramtorch", "base_model_precision")}
    config |= {"max_train_steps": 2, "mixed_precision": "no", "optimizer": "adamw", "resolution": 96}
    backends[0] |= {"resolution": 96, "video": {"num_frames": 9, "min_frames": 9}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "multidatabackend.json").write_text(json.dumps(backends), encoding="utf-8")
    return tmp_path


def test_an_imported_run_trains(files, capsys):
    command = ["import-simpletuner", str(files / "config.json"), "--out", str(files / "run.json"), "--checkpoint", "tiny.safetensors", "--text-encoder", "gemma.safetensors"]
    assert main(command) == 0
    assert "nothing is lost" in capsys.readouterr().out
    assert {n["type"] for n in json.loads((files / "run-canvas.json").read_text(encoding="utf-8"))["nodes"]} >= {"LTX2TrainLoRA", "LTX2CacheDataset"}
    assert (files / "run-canvas.api.json").is_file()
    runner = Runner(read_run(files / "run.json"), PlainResidency(), ConsoleReporter(quiet=True), StopFlag())
    result = runner.train()
    assert result.steps == 2 and runner.adapter_path == files / "output" / "low" / "low.safetensors" and runner.adapter_path.is_file()
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lossless"] is True


def test_a_run_that_is_written_elsewhere_finds_its_folders_and_models(files, monkeypatch):
    """Files are named as they are seen from where the command is given."""
    monkeypatch.chdir(files)
    assert main(["import-simpletuner", "config.json", "--out", "elsewhere/run.json", "--checkpoint", "tiny.safetensors", "--text-encoder", "gemma.safetensors"]) == 0
    run = read_run(files / "elsewhere" / "run.json")
    assert run.specs[0].folder == str(files / "datasets" / "videos") and run.output == str(files / "output" / "low")
    assert (run.checkpoint, run.text_encoder) == (str(files / "tiny.safetensors"), str(files / "gemma.safetensors"))
    canvas = json.loads((files / "elsewhere" / "run-canvas.api.json").read_text(encoding="utf-8"))
    assert next(n["inputs"]["folder"] for n in canvas.values() if n["class_type"] == "LTX2VideoDataset") == run.specs[0].folder


def test_epochs_are_counted_from_the_folders(files):
    config = json.loads((files / "config.json").read_text(encoding="utf-8"))
    (files / "config.json").write_text(json.dumps({**config, "max_train_steps": 0, "num_train_epochs": 3}), encoding="utf-8")
    # 3 clips, 10 repeats: 33 samples, 17 batches of 2, 3 times.
    assert import_files(files / "config.json").run["train"]["steps"] == 3 * 17


def test_the_datasets_file_is_found_and_missed(files):
    assert import_files(files / "config.json").run["dataset"]["folder"] == str(files / "datasets" / "videos")
    (files / "multidatabackend.json").unlink()
    assert main(["import-simpletuner", str(files / "config.json"), "--out", str(Path(files) / "run.json")]) == 1


@pytest.mark.parametrize("arguments", [(), ("config/ltx2/multidatabackend.json",)], ids=["named in the configuration", "given"])
def test_paths_start_from_simpletuners_own_folder(files, lowest, arguments, monkeypatch):
    """The guide's layout: config/config.json names config/ltx2/multidatabackend.json, and that datasets/videos, all from the folder above."""
    (files / "config" / "ltx2").mkdir(parents=True)
    (files / "config.json").rename(files / "config" / "config.json")
    (files / "multidatabackend.json").rename(files / "config" / "ltx2" / "multidatabackend.json")
    for place in (files, files.parent):  # wherever the command is given
        monkeypatch.chdir(place)
        run = import_files(files / "config" / "config.json", *(files / a for a in arguments)).run
        assert (run["dataset"]["folder"], run["output"]) == (str(files / "datasets" / "videos"), str(files / "output" / "low"))
    other = import_files(files / "config" / "config.json", root=files.parent).run
    assert other["dataset"]["folder"] == str(files.parent / "datasets" / "videos"), "a root that is given stays"


def test_the_vae_settings_reach_the_encoder(files, monkeypatch):
    """Every clip is encoded with them; tiles that cut the picture make entries of their own."""
    import ltx2core.cache.latents as latents

    used, encode = [], latents.encode_video
    monkeypatch.setattr(latents, "encode_video", lambda vae, pixels, memory: used.append(memory) or encode(vae, pixels, memory))
    assert main(["import-simpletuner", str(files / "config.json"), "--out", str(files / "run.json"), "--checkpoint", "tiny.safetensors", "--text-encoder", "gemma.safetensors"]) == 0
    raw = json.loads((files / "run.json").read_text(encoding="utf-8"))
    entries = []
    for size in (512, 64):
        raw["vae"]["tiling"] = {"size": size, "overlap": 32}
        (files / "run.json").write_text(json.dumps(raw), encoding="utf-8")
        runner = Runner(read_run(files / "run.json"), PlainResidency(), ConsoleReporter(quiet=True), StopFlag())
        entries.append([c.latents for c in runner.cache().clips])
    assert {(m.patch_conv, m.temporal_roll, m.slicing, m.tiling.size) for m in used} == {(True, True, True, 512), (True, True, True, 64)}
    assert not set(entries[0]) & set(entries[1])


def test_sound_alone_beside_pictures_is_refused(lowest, backends, tmp_path):
    sounds = {"id": "voices", "type": "local", "dataset_type": "audio", "instance_data_dir": "voices", "caption_strategy": "filename"}
    with pytest.raises(LTX2Error, match="voices trains sound alone and other datasets have pictures"):
        import_config(lowest, [*backends, sounds], tmp_path)
    run = import_config(lowest, [*backends, {**sounds, "disabled": True}], tmp_path).run
    assert "audio_only" not in run["train"]
    assert import_config(lowest, [{**b, "disabled": True} for b in backends[:1]] + [sounds], tmp_path).run["train"]["audio_only"]


def test_two_imported_datasets_train_together(files, backends):
    second = {**backends[0], "id": "more", "probability": 3.0, "instance_data_dir": "datasets/more"}
    write_demo_clips(files / "datasets" / "more", seed=5, count=2)
    both = [{**json.loads((files / "multidatabackend.json").read_text(encoding="utf-8"))[0], "probability": 1.0}, second | {"resolution": 96, "video": {"num_frames": 9, "min_frames": 9}}]
    (files / "multidatabackend.json").write_text(json.dumps(both), encoding="utf-8")
    assert main(["import-simpletuner", str(files / "config.json"), "--out", str(files / "run.json"), "--checkpoint", "tiny.safetensors", "--text-encoder", "gemma.safetensors"]) == 0
    runner = Runner(read_run(files / "run.json"), PlainResidency(), ConsoleReporter(quiet=True), StopFlag())
    passes = [clip.repeats + 1 for clip in runner.cache().clips]
    # 3 clips share a quarter, 2 clips three quarters.
    assert len(passes) == 5 and sum(passes[3:]) / sum(passes) == pytest.approx(0.75, rel=0.03)
    assert runner.train().steps == 2
