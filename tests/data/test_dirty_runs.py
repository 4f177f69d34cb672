"""Folders that change or break while they are cached, damaged memories, and a run over a dirty folder from end to end."""

import json
import os
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import pytest
import torch

from ltx2core.cache.build import build_cache
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.data.memory import ScanMemory
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.errors import LTX2Error
from ltx2core.runfile import Runner, read_run
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.text.source import open_text_encoder
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma

SIZE = {"width": 96, "height": 64, "frames": 9, "caption_strategy": "filename"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return write_tiny_checkpoint(folder / "tiny.safetensors"), write_tiny_gemma(folder / "gemma.safetensors")


class Listener(ConsoleReporter):
    """Does something when a clip is about to be encoded, and keeps what is said."""

    def __init__(self, before=lambda: None):
        super().__init__(quiet=True)
        self.said, self._before = [], before

    def message(self, text, level="info"):
        self.said.append(text)

    def progress(self, event):
        if event.stage == "captions" and event.done == event.total:
            self._before()


def cached(models, clips, out, reporter):
    services = {"residency": PlainResidency(torch.device("cpu")), "reporter": reporter, "stop": StopFlag()}
    index = scan(DatasetSpec(str(clips), **SIZE))
    return build_cache(index, open_checkpoint(models[0]), open_text_encoder(models[1]), out, **services)


@pytest.fixture
def clips(tmp_path, film):
    folder = tmp_path / "clips"
    folder.mkdir()
    for i, name in enumerate(("a", "b", "c")):
        film(folder / f"{name}.mp4", 1 + i, sound=None)
    return folder


def test_a_clip_that_goes_while_captions_are_encoded_is_named(models, clips, tmp_path):
    reporter = Listener(lambda: (clips / "b.mp4").unlink())
    cache = cached(models, clips, tmp_path / "cache", reporter)
    assert [c.source for c in cache.clips] == ["a.mp4", "c.mp4"]
    assert any("b.mp4" in m for m in cache.messages) and any("b.mp4" in m for m in reporter.said)


def test_a_clip_that_changes_between_its_digest_and_its_encoding_is_not_kept_under_the_old_name(models, clips, tmp_path, film, monkeypatch):
    """Its latents would be taken for those of the film that was there before."""
    import ltx2core.cache.latents as latents

    read = latents.read_clip

    def read_and_change(clip, *rest):
        result = read(clip, *rest)
        if Path(clip.path).name == "b.mp4":
            film(clips / "b.mp4", 3, sound=None)
        return result

    monkeypatch.setattr(latents, "read_clip", read_and_change)
    cache = cached(models, clips, tmp_path / "cache", Listener())
    assert [c.source for c in cache.clips] == ["a.mp4", "c.mp4"] and any("b.mp4" in m and "chang" in m for m in cache.messages)
    monkeypatch.undo()
    again = cached(models, clips, tmp_path / "cache", Listener())
    assert [c.source for c in again.clips] == ["a.mp4", "b.mp4", "c.mp4"]


@pytest.mark.parametrize("changed", ["b.mp4", "twin.mp4"])
def test_a_clip_of_the_same_content_stays_when_its_twin_changes(models, clips, tmp_path, film, monkeypatch, changed):
    import ltx2core.cache.latents as latents

    shutil.copy(clips / "b.mp4", clips / "twin.mp4")
    read, times = latents.read_clip, []

    def read_and_change(clip, *rest):
        result = read(clip, *rest)
        if Path(clip.path).name in ("b.mp4", "twin.mp4") and not times:
            times.append(clip.path)
            film(clips / changed, 4, sound=None)
        return result

    monkeypatch.setattr(latents, "read_clip", read_and_change)
    cache = cached(models, clips, tmp_path / "cache", Listener())
    kept = {c.source for c in cache.clips}
    # The one that was read is encoded, unless it is the one that changed: then its twin is.
    assert {"a.mp4", "c.mp4"} < kept and (changed not in kept or Path(times[0]).name != changed) and kept & {"b.mp4", "twin.mp4"}
    assert len(cache.clips) == len(kept) and (len(kept) == 4) == (not any("chang" in m for m in cache.messages))


def test_a_damaged_memory_of_the_scan_is_made_again(clips, tmp_path):
    memory = tmp_path / "scan.sqlite3"
    first = scan(DatasetSpec(str(clips), **SIZE), memory=memory)
    whole = memory.read_bytes()
    for broken in (b"rubbish", whole[:700], whole[:100] + bytes(range(256)) * 20 + whole[4000:], b""):
        memory.write_bytes(broken)
        assert scan(DatasetSpec(str(clips), **SIZE), memory=memory).clips == first.clips
    with ScanMemory(memory) as remembered:
        assert all(f.info is not None for f in remembered.probe_all([clips / "a.mp4"]))


def test_a_damaged_ledger_of_the_cache_is_made_again(models, clips, tmp_path):
    first = cached(models, clips, tmp_path / "cache", Listener())
    ledger = tmp_path / "cache" / "ledger.sqlite3"
    whole = ledger.read_bytes()
    for broken in (b"rubbish", whole[:700], whole[:100] + bytes(range(256)) * 20 + whole[4000:]):
        ledger.write_bytes(broken)
        assert cached(models, clips, tmp_path / "cache", Listener()).clips == first.clips
    with sqlite3.connect(ledger) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_dirty_folder_trains(models, clips, tmp_path, film):
    """Three good clips among faults: the run names every fault and trains on the three."""
    whole = film(tmp_path / "source.mp4", 2, sound=None).read_bytes()
    (clips / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "text.mov").write_text("not a film", encoding="utf-8")
    film(clips / "one.mp4", 1 / 25, sound=None)
    shutil.copy(clips / "a.mp4", clips / "a 'copy' 🦊.mp4")
    if os.name == "posix":
        (clips / "loop").symlink_to(clips, target_is_directory=True)
    run = {"checkpoint": str(models[0]), "text_encoder": str(models[1]), "output": "out", "dataset": {"folder": str(clips), **SIZE, "recursive": True},
           "train": {"steps": 2, "dtype": "float32", "validate_every": 0}}  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(run), encoding="utf-8")
    reporter = Listener()
    runner = Runner(read_run(tmp_path / "run.json"), PlainResidency(torch.device("cpu")), reporter, StopFlag())
    assert runner.train().steps == 2 and runner.adapter_path.is_file()
    for name in ("cut.mp4", "empty.mp4", "text.mov", "one.mp4"):
        assert any(name in said for said in reporter.said), name


def test_a_clip_that_is_still_being_copied_is_read_whole_the_next_time(clips, film, tmp_path):
    """A scan meets a half-written file; when it is complete the next scan takes it, though names and memory are the same."""
    whole, memory = film(tmp_path / "late.mp4", 2, sound=None).read_bytes(), tmp_path / "scan.sqlite3"
    (clips / "late.mp4").write_bytes(whole[:300])
    assert {Path(d.path).name for d in scan(DatasetSpec(str(clips), **SIZE), memory=memory).dropped} == {"late.mp4"}
    (clips / "late.mp4").write_bytes(whole)
    assert not scan(DatasetSpec(str(clips), **SIZE), memory=memory).dropped


def test_scanning_while_a_folder_changes(clips, film, tmp_path):
    """Files come and go all the time: no crash, and the files that stay are found."""
    film(tmp_path / "other.mp4", 1, sound=None)
    done = threading.Event()

    def churn():
        number = 0
        while not done.is_set():
            number += 1
            target = clips / f"x{number % 5}.mp4"
            if target.exists():
                target.unlink()
            else:
                shutil.copy(tmp_path / "other.mp4", target)
            time.sleep(0.001)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(15):
            try:
                names = {Path(c.path).name for c in scan(DatasetSpec(str(clips), **SIZE)).clips}
            except LTX2Error as error:
                pytest.fail(f"the scan gave up: {error}")
            assert {"a.mp4", "b.mp4", "c.mp4"} <= names
    finally:
        done.set()
        thread.join()
