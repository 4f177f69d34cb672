"""Folders as they are: every fault is named, nothing crashes or hangs, and the rest goes on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ltx2core.data.files import walk
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.errors import LTX2Error


def spec(folder, **values):
    return DatasetSpec.from_dict({"folder": str(folder), "width": 96, "height": 64, "frames": 17, "caption_strategy": "filename", **values})


def test_a_dirty_folder(tmp_path, film):
    good = film(tmp_path / "good.mp4", 1, sound="mono")
    names = ["with space.mp4", "quote's \"x\".mp4" if os.name == "posix" else "quote's.mp4", "🦊.mp4", "n" * 246 + ".mp4", "100%03d.mp4", "UPPER.MP4"]
    for name in names:
        shutil.copy(good, tmp_path / name)
    whole = good.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a film", encoding="utf-8")
    (tmp_path / "film.png").write_bytes(whole)
    (tmp_path / "._good.mp4").write_bytes(b"resource fork")
    (tmp_path / "folder.mp4").mkdir()
    film(tmp_path / "one.mp4", 1 / 25, sound=None)
    index = scan(spec(tmp_path))
    assert {Path(c.path).name for c in index.clips} == {"good.mp4", *names}
    assert {Path(d.path).name for d in index.dropped} == {"cut.mp4", "empty.mp4", "text.mp4", "film.png", "one.mp4"}
    for dropped in index.dropped:
        assert sum(Path(dropped.path).name in message for message in index.messages) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes and links for everyone: Linux")
def test_links_and_names_of_any_bytes(tmp_path, film):
    (tmp_path / "clips").mkdir()
    (tmp_path / "other").mkdir()
    film(tmp_path / "clips" / "good.mp4", 1, sound=None)
    film(tmp_path / "other" / "linked.mp4", 1, sound=None)
    (tmp_path / "clips" / "loop").symlink_to(tmp_path / "clips", target_is_directory=True)
    (tmp_path / "clips" / "other").symlink_to(tmp_path / "other", target_is_directory=True)
    (tmp_path / "other" / "back").symlink_to(tmp_path / "clips", target_is_directory=True)
    (tmp_path / "clips" / "self.mp4").symlink_to(tmp_path / "clips" / "self.mp4")
    (tmp_path / "clips" / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    os.mkfifo(tmp_path / "clips" / "pipe.mp4")
    shutil.copy(tmp_path / "clips" / "good.mp4", os.fsencode(tmp_path / "clips") + b"/latin\xe9.mp4")
    index = scan(spec(tmp_path / "clips", recursive=True))
    assert sorted(Path(c.path).name for c in index.clips) == ["good.mp4", "linked.mp4"]
    reasons = {Path(d.path).name: d.reason.partition(";")[0] for d in index.dropped}
    assert reasons.pop("latin?.mp4") == "has a name that is not UTF-8 text" and reasons.pop("pipe.mp4") == "is no file with content, but a pipe or a device"
    assert reasons == dict.fromkeys(("self.mp4", "gone.mp4"), "is a link that leads to no file")
    assert len(list(walk(tmp_path / "clips", False))) == 6


def test_kinds_that_are_not_read_are_named_where_they_are_meant(tmp_path, film):
    good = film(tmp_path / "good.mp4", 1)
    for name in ("a.HEIC", "b.3gp", "c.wma", "d.mp4.part", "notes.md"):
        (tmp_path / name).write_bytes(b"x")
    shutil.copy(good, tmp_path / "p.wav")
    Image.new("RGB", (64, 64)).save(tmp_path / "p.png")
    for kind, named in (("auto", "abd"), ("video", "bd"), ("image", "ad"), ("audio", "bcd")):
        assert "".join(sorted(Path(d.path).name[0] for d in scan(spec(tmp_path, dataset_type=kind)).dropped)) == named, kind


def test_folders_that_cannot_be_listed_are_named(tmp_path, film, monkeypatch):
    """Root may list any folder, so the system's refusal is played."""
    (tmp_path / "inside").mkdir()
    film(tmp_path / "good.mp4", 1, sound=None)
    real = os.scandir

    def scandir(place):
        if Path(place).name == "inside":
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    assert scan(spec(tmp_path)).dropped == (), "only where folders inside are searched"
    assert [(Path(d.path).name, d.reason) for d in scan(spec(tmp_path, recursive=True)).dropped] == [("inside", "is a folder that cannot be read (Permission denied); check its permissions")]


def test_a_folder_of_links_that_lead_nowhere_says_so(tmp_path):
    (tmp_path / "a.mp4").symlink_to(tmp_path / "moved" / "a.mp4")
    with pytest.raises(LTX2Error, match=r"a\.mp4 is a link that leads to no file"):
        scan(spec(tmp_path))


def test_a_second_scan_opens_changed_files_alone(tmp_path, film):
    clips, memory = tmp_path / "clips", tmp_path / "memory" / "scan.sqlite3"
    clips.mkdir()
    a, b = film(clips / "a.mp4", 2), film(clips / "b.mp4", 1, sound=None)
    first = scan(spec(clips), memory=memory)
    # Content is exchanged for rubbish of the same size and time: only a scan that opens the file can notice.
    state = a.stat()
    a.write_bytes(bytes(state.st_size))
    os.utime(a, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert scan(spec(clips), memory=memory) == first
    film(b, 3)
    again = scan(spec(clips), memory=memory)
    assert [c.duration for c in again.clips] == pytest.approx([2, 3], abs=0.05) and again.clips[1].has_audio
    assert {Path(d.path).name for d in scan(spec(clips)).dropped} == {"a.mp4"}
    a.write_bytes(b"rubbish")
    assert len(scan(spec(clips), memory=memory).dropped) == 1
    film(a, 1)
    assert len(scan(spec(clips), memory=memory).clips) == 2


def harness(script, folder, count, seed):
    """What a script of this folder printed; in a process of its own, because a fault inside a codec would end this one."""
    done = subprocess.run([sys.executable, str(Path(__file__).with_name(script)), str(folder), str(count), str(seed)], capture_output=True, text=True, timeout=900, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_broken_bytes_never_crash(tmp_path, request):
    count = 2000 if request.config.getoption("--full") else 80
    totals = harness("fuzz.py", tmp_path / "fuzz", count, 11)
    # Some mutations hit bytes that do not matter; most must have been noticed.
    assert totals["read"] + totals["left out"] >= count and totals["read"] > 0 and totals["left out"] > count // 3


def test_broken_models_caches_and_settings_never_crash(tmp_path, request):
    count = 2000 if request.config.getoption("--full") else 100
    totals = harness("fuzz_files.py", tmp_path / "fuzz", count, 12)
    assert sum(sum(kind.values()) for kind in totals.values()) == count
    # Memories heal themselves; everything else refuses what it cannot trust, and a damaged cache entry is never taken.
    assert all(totals[kind]["refused"] == 0 for kind in ("ledger", "scan memory"))
    assert all(totals[kind]["refused"] > 0 for kind in totals if kind not in ("ledger", "scan memory"))
