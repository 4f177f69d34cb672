"""Training handed to child processes: events come back, a stop goes on to them, and the result is the run's."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from ltx2core.cache.build import build_cache
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.distributed import launch
from ltx2core.distributed.canvas import check_gpus, train_on_several
from ltx2core.distributed.launch import EventTail, relay, run_together, torchrun_command
from ltx2core.distributed.preview_file import load_previews, save_previews
from ltx2core.errors import LTX2Error
from ltx2core.media.audio import Waveform
from ltx2core.media.probe import probe
from ltx2core.models.handle import Models
from ltx2core.protocols import Interrupted, MemoryPlanned, PreviewMade, Progress
from ltx2core.sample.reference import Reference
from ltx2core.sample.settings import SampleSettings
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.text.features import TextFeatures
from ltx2core.text.source import open_text_encoder
from ltx2core.train.preview_clips import PreviewJob
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings

SIZE = {"width": 64, "height": 64, "frames": 9}


class Recorder:
    """A reporter that keeps what it is told, and asks for a stop at a step."""

    def __init__(self, stop=None, at=0):
        self.events, self._stop, self._at = [], stop, at

    def progress(self, event):
        self.events.append(event)
        if self._stop is not None and event.stage == "train" and event.done >= self._at:
            self._stop.stopped = True

    def message(self, text, level="info"):
        self.events.append((level, text))

    def preview(self, event):
        self.events.append(event)

    memory = preview


@pytest.fixture(scope="module")
def parts(folder, tmp_path_factory):
    """Models and a cached dataset, as nodes hand them on."""
    checkpoint = open_checkpoint(folder / "tiny.safetensors")
    quiet = {"residency": PlainResidency(torch.device("cpu")), "reporter": ConsoleReporter(quiet=True), "stop": StopFlag()}
    index = scan(DatasetSpec.from_dict({"folder": str(folder / "clips"), **SIZE}), quiet["reporter"])
    cache = build_cache(index, checkpoint, open_text_encoder(folder / "gemma.safetensors"), tmp_path_factory.mktemp("cache"), **quiet)
    return Models(checkpoint, torch.float32), cache


RUN = RunConfig(LoRASettings(rank=2), TrainSettings(steps=4, dtype="float32", learning_rate=1e-3, warmup=1, validate_every=0, validation_clips=2))


def film(**values):
    features = TextFeatures(torch.randn(1, 16, 64).bfloat16(), torch.randn(1, 16, 64).bfloat16())
    return PreviewJob("film", features, settings=SampleSettings(**SIZE, steps=1, video_cfg=1.0, audio_cfg=1.0), **values)


def test_previews_come_back_from_their_file(tmp_path):
    sound = film(sound=Waveform(torch.rand(2, 90), 24000), negative=film().positive)
    shown = Reference(torch.randint(0, 255, (9, 32, 48, 3), dtype=torch.uint8), 0.5)
    same = replace(film(reference=shown, image=torch.randint(0, 255, (1, 64, 64, 3), dtype=torch.uint8)), name="a.b", negative=sound.negative)
    back = load_previews(save_previews(tmp_path / "previews.safetensors", [sound, same, film()]))
    for old, new in zip([sound, same, film()], back, strict=True):
        assert (new.name, new.settings) == (old.name, old.settings)
    assert torch.equal(back[0].positive.audio, sound.positive.audio) and torch.equal(back[1].negative.video, sound.negative.video)
    assert torch.equal(back[1].image, same.image) and torch.equal(back[0].sound.samples, sound.sound.samples) and back[0].sound.rate == 24000
    assert torch.equal(back[1].reference.frames, shown.frames) and back[1].reference.strength == 0.5
    assert (back[2].negative, back[2].image, back[2].sound, back[2].reference) == (None,) * 4
    (tmp_path / "broken").write_bytes(b"nothing")
    with pytest.raises(LTX2Error, match="start the training again"):
        load_previews(tmp_path / "broken")


def test_stop_and_go_on(parts, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    models, cache = parts
    stop = StopFlag()
    reporter, long = Recorder(stop, 2), replace(RUN, train=replace(RUN.train, steps=3000))
    options = {"directory": tmp_path / "run", "name": "mine", "device": "cpu"}
    with pytest.raises(Interrupted, match=r"Training stopped at step \d+ of 3000; its state is saved"):
        train_on_several(2, models, long, cache, reporter=reporter, stop=stop, **options)
    saved = [p.name for p in (tmp_path / "run").glob("state-*.safetensors")]
    assert len(saved) == 1
    reached = int(saved[0].split("-")[1].split(".")[0])
    again, on = Recorder(), replace(RUN.train, steps=reached + 2, preview_every=10_000)
    done = train_on_several(2, models, replace(RUN, train=on), cache, reporter=again, stop=StopFlag(), previews=[film()], **options)
    (made,) = [e for e in again.events if isinstance(e, PreviewMade)]
    assert made == PreviewMade("mine", reached + 2, f"previews/step-{reached + 2:06d}-film.mp4") and probe(tmp_path / "run" / made.file).frames == 9
    assert any(f"goes on at step {reached}" in e[1] for e in again.events if isinstance(e, tuple))
    trained = [e for e in again.events if isinstance(e, Progress) and e.stage == "train"]
    assert trained[-1].done == reached + 2 and trained[-1].metrics["loss"] > 0
    assert done.steps == reached + 2 and len(done.history.steps) == reached + 2 and done.validation
    # A step has one clip for each process, as nothing else was asked for.
    assert "global_batch" in json.loads((tmp_path / "run" / "job.json").read_text(encoding="utf-8"))["run"]["train"]
    from ltx2core.train.lora import adapter_from_state
    from ltx2core.train.state import load_state

    state = load_state(done.adapter_state_path)
    assert state.facts["settings"]["train"]["global_batch"] == 2
    expected = adapter_from_state(state.part("adapter"), RUN.lora, "mine", "2.0", models.component("transformer"))
    assert all(torch.equal(done.adapter.state()[k], t) for k, t in expected.state().items()) and done.adapter.name == "mine"


def test_an_error_is_the_childrens_own_sentence(parts, tmp_path):
    """Too few processes for what is asked: every one of them refuses it."""
    models, cache = parts
    run = replace(RUN, lora=LoRASettings(rank=2, kind="dora"))
    with pytest.raises(LTX2Error, match="leaves no card with the whole weights that a DoRA reads; choose kind lora"):
        train_on_several(2, models, run, cache, directory=tmp_path / "run", name="mine", device="cpu", distributed="fsdp2", reporter=Recorder(), stop=StopFlag())


def test_a_child_that_cannot_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "torchrun_command", lambda processes, arguments: [sys.executable, "-c", "raise SystemExit('RuntimeError: no such thing')"])
    with pytest.raises(LTX2Error, match="RuntimeError: no such thing"):
        run_together(2, [], tmp_path, reporter=Recorder(), stop=StopFlag())


def test_a_child_does_not_outlive_its_parent(tmp_path, monkeypatch):
    wait = f"import time, pathlib\nwhile not pathlib.Path({str(tmp_path / 'stop')!r}).exists(): time.sleep(0.05)\npathlib.Path({str(tmp_path / 'left')!r}).touch()"
    monkeypatch.setattr(launch, "torchrun_command", lambda processes, arguments: [sys.executable, "-c", wait])

    class Broken:
        def requested(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_together(2, [], tmp_path, reporter=Recorder(), stop=Broken())
    assert (tmp_path / "left").exists()


def test_events_in_pieces(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "old"}\n', encoding="utf-8")
    tail = EventTail(path)
    assert tail.read() == []
    with path.open("a", encoding="utf-8") as file:
        file.write('{"event": "message", "text": "é", "level": "info"}\n{"event": "mess')
        file.flush()
        assert [e["text"] for e in tail.read()] == ["é"]
        file.write('age", "text": "two", "level": "info"}\n')
    assert [e["text"] for e in tail.read()] == ["two"]


def test_relayed_events_are_those_that_were_told(tmp_path):
    told = [Progress("train", 3, 9, "a", {"loss": 0.5}), MemoryPlanned(1, 2, 3, 4, 5, "x"), PreviewMade("r", 3, "f.mp4")]
    source, target = ConsoleReporter(tmp_path / "log", quiet=True), Recorder()
    source.progress(told[0]), source.memory(told[1]), source.preview(told[2]), source.message("m", "warning")
    source.close()
    for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines():
        relay(json.loads(line), target)
    assert target.events == [*told, ("warning", "m")]


def test_more_gpus_than_there_are():
    with pytest.raises(LTX2Error, match="lower gpus"):
        check_gpus(torch.cuda.device_count() + 1, torch.device("cuda"))
    check_gpus(2, torch.device("cpu"))  # ComfyUI was started on the processor, and so are the processes


def test_the_entry_needs_no_working_folder(tmp_path):
    entry = torchrun_command(2, [])[-1]
    done = subprocess.run([sys.executable, "-I", entry, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "train-cache" in done.stdout
