"""Each fault gives its finding; a sound run gives none; nothing large is loaded."""

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx2core.cli import main
from ltx2core.memory.plan import GIB
from ltx2core.preflight.finding import SEVERITIES
from ltx2core.preflight.motion import is_judged, names_motion
from ltx2core.preflight.space import Free, cache_bytes
from ltx2core.runfile import Runner, read_run
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.tiny import tiny_config
from ltx2core.tiny_gemma import write_tiny_gemma

ROOT = Path(__file__).resolve().parents[2]


def test_a_sound_run_has_facts_alone(tiny_run, capsys):
    result = tiny_run.check()
    assert {f.severity for f in result.findings} == {"info"}, [str(f) for f in result.findings if f.severity != "info"]
    assert {"checkpoint", "text_encoder", "sizes", "sound", "disk", "memory", "host_memory", "steps"} <= {f.topic for f in result.findings}
    assert "6 x 96x64@9" in result.about("sizes")[0].text and "6 of 6 samples" in result.about("sound")[0].text
    assert main(["check", str(tiny_run.write()), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["ok"] is True and all(set(f) == {"severity", "topic", "text", "advice", "files"} for f in printed["findings"])


def test_a_checkpoint_or_text_encoder_that_cannot_be_used(tiny_run, capsys):
    write_tiny_gemma(tiny_run.folder / "other.safetensors", num_layers=5)
    assert "6 hidden states" in tiny_run.check(text_encoder="other.safetensors").errors[0].text
    gone = tiny_run.check(checkpoint="gone.safetensors", text_encoder="gone.safetensors")
    assert {f.topic for f in gone.errors} == {"checkpoint", "text_encoder"}
    assert gone.about("sizes"), "the clips are still looked at"
    assert main(["check", str(tiny_run.write(checkpoint="gone.safetensors"))]) == 1
    assert "error: " in capsys.readouterr().out


def test_snapped_frames_and_sizes_are_told(tiny_run):
    texts = [f.text for f in tiny_run.check(**tiny_run.dataset(width=100, frames=15)).about("snapped")]
    assert any("100x64 becomes 96x64" in t for t in texts) and any("15 frames become 9" in t for t in texts)


def test_clips_that_are_left_out_are_named_with_the_reason_and_grouped(tiny_run, film):
    film(tiny_run.clips / "short.mp4", 0.2)
    film(tiny_run.clips / "brief.mp4", 0.3)
    (tiny_run.clips / "empty.mp4").write_bytes(b"")
    film(tiny_run.clips / "mute.mp4", 1)
    for name in ("short", "brief", "empty"):
        (tiny_run.clips / f"{name}.txt").write_text("A bird flies.", encoding="utf-8")
    result = tiny_run.check()
    short = next(f for f in result.about("dropped") if "short.mp4" in f.files)
    assert set(short.files) == {"short.mp4", "brief.mp4"} and short.severity == "warning" and "min_frames" in short.advice
    empty = next(f for f in result.about("dropped") if "empty.mp4" in f.files)
    assert "cannot be read" in empty.text and empty.advice == "Re-encode it, or take it out of the folder." and "ncode" not in empty.text
    missing = result.about("captions")
    assert missing[0].files == ("mute.mp4",) and "caption" in missing[0].advice


def test_captions_that_repeat_are_short_or_stand_still(tiny_run):
    def write(**captions):
        for name, text in captions.items():
            (tiny_run.clips / f"{name[1:]}.txt").write_text(text, encoding="utf-8")

    write(_0="A cat runs over a roof.", _1="A cat runs over a roof.", _2="A portrait of a woman in a red dress.", _3="fox running", _4="Ein Haus " * 900)
    result = tiny_run.check()
    assert result.about("duplicate_captions")[0].files == ("0.mp4", "1.mp4")
    assert "2.mp4" in result.about("motion")[0].files and "5.mp4" not in result.about("motion")[0].files
    assert "pans right" in result.about("motion")[0].advice
    assert result.about("short_captions")[0].files == ("3.mp4",) and result.about("long_captions")[0].files == ("4.mp4",)


@pytest.mark.parametrize(
    ("caption", "moves"),
    [
        ("A dog runs along the beach.", True), ("The camera slowly zooms in.", True), ("Camera pans right over hills", True), ("She was dancing in the rain", True),
        ("Dolly shot through a corridor", True), ("The bird flew away", True), ("Two men juggling torches", True), ("A timelapse of a city", True),
        ("A woman standing in a building, morning light", False), ("Portrait of a king in a red dress", False), ("A photo of a spring evening", False),
        ("Close-up of a ring on a table", False), ("A slow open field of rocks", False), ("Waves crossing the bay", True),
    ],
)  # fmt: skip
def test_words_of_motion(caption, moves):
    assert names_motion(caption) is moves


def test_captions_in_other_scripts_are_not_judged():
    assert not is_judged("雪の上を走る狐") and not is_judged("лиса бежит по снегу") and not is_judged("fox") and is_judged("a red fox")


def test_frame_rates_that_differ(tiny_run, film):
    film(tiny_run.clips / "0.mp4", 1, rate=30)
    few = tiny_run.check().about("frame_rate")[0]
    assert few.files == ("0.mp4",) and "30" in few.text and "trained at 25" in few.text
    most = tiny_run.check(**tiny_run.dataset(frame_rate=30)).about("frame_rate")[0]
    assert len(most.files) == 5 and "Set frame_rate to 25" in most.advice


def test_sound(tiny_run, film):
    film(tiny_run.clips / "0.mp4", 1, sound=None)
    film(tiny_run.clips / "1.mp4", 1, sound="mono")
    about = tiny_run.check().about("sound")
    assert "5 of 6" in about[0].text and "1 channel at" in about[0].text and any("0.mp4" in f.files for f in about)
    assert "0.mp4" in tiny_run.check(train={"steps": 20, "audio_only": True}).errors[0].text
    assert any("audio_weight" in f.text for f in tiny_run.check(train={"steps": 20, "audio_weight": 0.0}).about("sound"))


def test_changes_of_scene_are_not_looked_for(tiny_run, monkeypatch):
    """Every film would be decoded for it: half a minute for a hundred HD clips."""
    monkeypatch.setattr("ltx2core.data.scan.cut_points", lambda *given: pytest.fail("a film was decoded"))
    result = tiny_run.check(**tiny_run.dataset(split_scenes=True))
    assert not result.errors and any("is cut where the scene changes" in f.text for f in result.about("sizes"))
    assert not any("scene" in f.text for f in tiny_run.check().about("sizes"))


def test_sound_without_picture_needs_a_run_of_its_own(tiny_run, film):
    """Training would refuse it after everything is cached."""
    sounds = {"folder": "sounds", "dataset_type": "audio", "caption_strategy": "filename"}
    (tiny_run.folder / "sounds").mkdir()
    film(tiny_run.folder / "sounds" / "voice.mp4", 1)
    (both,) = tiny_run.check(dataset=None, datasets=[tiny_run.dataset()["dataset"], sounds]).errors
    assert both.topic == "sound" and both.files == ("voice.mp4",) and "run of their own" in both.advice
    (alone,) = tiny_run.check(dataset=sounds).errors
    assert alone.advice == "Switch audio_only on."
    assert not tiny_run.check(dataset=sounds, train={"steps": 20, "audio_only": True}).errors
    assert main(["train", str(tiny_run.write(dataset=sounds)), "--device", "cpu"]) == 1 and not (tiny_run.folder / "out" / "cache" / "latents").exists()


def test_sounds_without_a_partner(tiny_run, film):
    (tiny_run.folder / "sounds").mkdir()
    for name in ("0", "1", "other"):
        film(tiny_run.folder / "sounds" / f"{name}.mp4", 1)
    found = [f.text for f in tiny_run.check(**tiny_run.dataset(sound_folder="sounds")).about("sound") if f.severity == "warning"]
    assert len(found) == 2 and "4 clips found no sound of their name" in found[0] and "2.mp4" in found[0] and "other.mp4" in found[1]


def test_memory_and_disk(tiny_run, monkeypatch):
    fits = tiny_run.check(Free(2 * GIB, 4 * GIB))
    assert not fits.errors
    tight = tiny_run.check(Free(GIB // 10, 4 * GIB))
    assert tight.errors[0].topic == "memory" and "0.1" in tight.errors[0].text and "width and height first" in tight.errors[0].advice
    fixed = tiny_run.check(Free(GIB // 10, 4 * GIB), memory={"precision": "int8"})
    assert fixed.errors[0].topic == "memory"
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    assert [f.topic for f in tiny_run.check().errors] == ["disk"]


def test_the_disk_is_asked_for_the_states_that_stay(tiny_run):
    """Those at multiples of keep_every too; a LoKr's are as small as it is, though the card is planned for a LoRA."""

    def states(**values):
        (text,) = [f.text for f in tiny_run.check(**values).findings if f.topic == "disk"]
        return float(text.split("states ")[1].split(";")[0])

    train = {"steps": 1000, "checkpoint_every": 10, "keep_checkpoints": 2}
    large = {"rank": 500}
    few = states(train=train, lora=large)
    assert few > 0.05 and abs(states(train={**train, "keep_every": 100}, lora=large) / few - (2 + 9 + 1) / (2 + 1)) < 0.2
    assert states(train=train, lora={**large, "kind": "lokr"}) < 0.1 * few


def test_a_cache_on_a_disk_of_its_own(tiny_run, monkeypatch):
    from ltx2core.preflight import space

    there = str(tiny_run.folder / "shared")
    monkeypatch.setattr(space, "_disk_of", lambda path: int(str(path) == there))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10 * GIB})())
    found = [f.text for f in tiny_run.check(cache_dir="shared").findings if f.topic == "disk"]
    assert len(found) == 2 and f"in {there}: captions" in found[0] and "latents" in found[0] and "The states need" in found[1]
    assert len([f for f in tiny_run.check().findings if f.topic == "disk"]) == 1


def test_a_hundred_clips_are_checked_by_the_command(tiny_run, film):
    """Half of them HD films whose turn only a decoded picture tells. benchmarks/preflight.py measures how long it takes."""
    clips = tiny_run.folder / "many"
    clips.mkdir()
    for name in ("a.mp4", "a.mkv"):
        film(tiny_run.folder / name, 1, size=(1920, 1080))
    for i in range(100):
        shutil.copy(tiny_run.folder / ("a.mp4", "a.mkv")[i % 2], clips / f"{i}{('.mp4', '.mkv')[i % 2]}")
    run = tiny_run.write(dataset={"folder": str(clips), "width": 96, "height": 64, "frames": 9, "caption_strategy": "filename"})
    done = subprocess.run([sys.executable, "-m", "ltx2core", "check", str(run)], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert "100 samples after snapping" in done.stdout, done.stderr


def test_the_predicted_disk_is_what_the_cache_takes(tiny_run):
    run = read_run(tiny_run.write())
    runner = Runner(run, PlainResidency(torch.device("cpu")), ConsoleReporter(quiet=True), StopFlag())
    runner.cache()
    captions, latents = cache_bytes([c for index in runner.scan().indexes for c in index.clips], 64)
    for kind, predicted in (("text", captions), ("latents", latents)):
        files = list((tiny_run.folder / "out" / "cache" / kind).rglob("*.safetensors"))
        # A file's header is not counted: a few hundred bytes each.
        headers = sum(8 + struct.unpack("<Q", f.read_bytes()[:8])[0] for f in files)
        assert sum(f.stat().st_size for f in files) - headers == predicted


def test_settings(tiny_run):
    result = tiny_run.check(train={"steps": 100_000}, samples=[{"name": "a", "prompt": "x", "settings": {"video_cfg": 9.0, "frames": 61}}, {"name": "b", "prompt": "x", "image": "gone.png"}])
    texts = " ".join(map(str, result.findings))
    assert "learned by heart" in texts and "above 6" in texts and "61 frames become 57" in texts and "gone.png" in texts
    assert tiny_run.check(train={"steps": 20, "batch_size": 20}).about("sizes")[0].severity == "warning"
    assert tiny_run.check(lora={"targets": ["*.nothing"]}).errors[0].topic == "lora"
    assert tiny_run.check(train={"steps": 20, "crepa": {"encoder": "absent"}}).errors[0].topic == "crepa"
    hub = {"encoder": "nobody-here/dinov2-absent"}
    assert "not in the Hugging Face cache" in tiny_run.check(train={"steps": 20, "crepa": hub}).errors[0].text
    assert tiny_run.check(train={"steps": 20, "crepa": {**hub, "allow_download": True}}).about("crepa")[0].severity == "info"
    assert not tiny_run.check(train={"steps": 20, "crepa": {**hub, "feature_source": "backbone", "teacher_block_index": 1, "block_index": 0}}).about("crepa")
    assert tiny_run.check(train={"steps": 20, "optimizer": "adamw_bf16", "dtype": "float32"}).errors[0].topic == "optimizer"
    assert not tiny_run.check(train={"steps": 20, "optimizer": "adamw_bf16", "dtype": "bf16"}).errors


def test_a_folder_without_a_usable_clip_is_an_error(tiny_run):
    for path in tiny_run.clips.glob("*.mp4"):
        path.write_bytes(b"rubbish")
    result = tiny_run.check()
    assert result.errors[0].topic in ("dataset", "dropped") and any("None of the 6 clips" in f.text for f in result.errors)
    assert tiny_run.check(**tiny_run.dataset(folder="nowhere")).errors[0].topic == "dataset"


def test_what_a_run_needs_beside_its_clips(tiny_run, film):
    """It would be missed when everything is cached and the transformer loaded."""
    other = {**tiny_run.dataset()["dataset"], "folder": "nowhere"}
    found = tiny_run.check(validation_dataset=other, references=other, regularisation=other, adapter="gone.safetensors", previews=[{"name": "p", "prompt": "x", "image": "gone.png"}, {"name": "q", "prompt": "x", "reference": "gone.mp4"}])
    assert {f.topic for f in found.errors} == {"validation_dataset", "references", "regularisation", "adapter", "samples"}
    assert sum("needs the image" in f.text or "needs the reference" in f.text for f in found.errors) == 2
    (tiny_run.folder / "held").mkdir()
    film(tiny_run.folder / "held" / "a.mp4", 1)
    (tiny_run.folder / "held" / "a.txt").write_text("A bird sings.", encoding="utf-8")
    (tiny_run.folder / "held" / "empty.mp4").write_bytes(b"")
    (tiny_run.folder / "held" / "empty.txt").write_text("A bird flies.", encoding="utf-8")
    held = tiny_run.check(validation_dataset={**other, "folder": "held"})
    assert not held.errors and held.about("dropped")[0].files == ("empty.mp4",)


def test_every_finding_suggests_one_change(tiny_run, film):
    (tiny_run.clips / "empty.mp4").write_bytes(b"")
    film(tiny_run.clips / "0.mp4", 1, rate=30, sound=None)
    (tiny_run.clips / "1.txt").write_text("A still house.", encoding="utf-8")
    result = tiny_run.check(Free(GIB // 10, GIB), train={"steps": 1}, samples=[{"name": "a", "prompt": "x", "settings": {"video_cfg": 9.0}}])
    assert {f.severity for f in result.findings} == set(SEVERITIES)
    assert all(f.advice.endswith(".") for f in result.findings)
    assert [SEVERITIES.index(f.severity) for f in result.findings] == sorted(SEVERITIES.index(f.severity) for f in result.findings)


def test_no_weight_is_read(tiny_run, monkeypatch):
    """Every way of reading weights is shut."""
    def refuse(*args, **kwargs):
        raise AssertionError("weights are read")

    for name in ("ltx2core.models.build.fill_module", "safetensors.safe_open", "safetensors.torch.load_file", "ltx2core.text.encoder.load_text_encoder"):
        monkeypatch.setattr(name, refuse)
    assert tiny_run.check().findings


@pytest.mark.parametrize("command", ["check", "plan"])
def test_no_library_of_models_is_imported(command, tiny_run):
    """Each takes seconds."""
    arguments = [command, str(tiny_run.write()), "--vram", "10", "--ram", "10"]
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from ltx2core.cli import main; code = main({arguments!r}); "
        "print([m for m in ('diffusers', 'transformers', 'peft', 'lycoris', 'torchao', 'torch._dynamo') if m in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_checkpoint_without_a_layer(tiny_run):
    state = load_file(tiny_run.folder / "tiny.safetensors")
    gone = "model.diffusion_model.transformer_blocks.0.attn2.to_v.weight"
    save_file({k: v for k, v in state.items() if k != gone}, tiny_run.folder / "tiny.safetensors", metadata={"config": json.dumps(tiny_config())})
    error = tiny_run.check().errors[0]
    assert error.topic == "checkpoint" and gone in error.text


def test_targets_beside_the_sound_that_is_trained_alone(tiny_run):
    found = tiny_run.check(train={"steps": 20, "audio_only": True}, lora={"targets": "video"})
    assert found.errors[0].topic == "lora" and "choose targets" in found.errors[0].text
