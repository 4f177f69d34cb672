"""Two processes fill one cache at once: each entry is made once, and one that dies leaves its work to the other."""

import json
import time
from pathlib import Path

import pytest
import torch
from forked import Forked

from ltx2core.cache.claims import LOCKS, Claims, rounds
from ltx2core.cache.store import Store
from ltx2core.demo_clips import write_demo_clips
from ltx2core.errors import LTX2Error
from ltx2core.protocols import Interrupted

SCRIPT = Path(__file__).with_name("building.py")


@pytest.fixture
def together(parts, tmp_path):
    """Starts processes that begin at the same moment, but one that is to die when the others are at work has made a clip before;
    gives what each printed, None for one that died."""
    folder = tmp_path / "clips"
    write_demo_clips(folder, count=8)

    def wait(found):
        until = time.monotonic() + 120
        while not found() and time.monotonic() < until:
            time.sleep(0.02)

    def run(*stops):
        models, gates = [str(part.path) for part in parts], [tmp_path / ("gate" if not stop else f"early{i}") for i, stop in enumerate(stops)]
        running = [
            Forked(tmp_path / f"said{i}", 1, folder, tmp_path / "cache", *models, gate, stop, script=SCRIPT) for i, (gate, stop) in enumerate(zip(gates, stops, strict=True))
        ]  # fmt: skip
        wait(lambda: len(list(tmp_path.glob("gate.*"))) + len(list(tmp_path.glob("early*.*"))) >= len(stops))
        for early in (gate for gate, stop in zip(gates, stops, strict=True) if stop):
            early.touch()
            wait(Path(f"{early}.first").exists)
        (tmp_path / "gate").touch()
        printed = [p.communicate(timeout=120)[0] for p in running]
        return [json.loads(text.splitlines()[-1]) if p.returncode == 0 else None for p, text in zip(running, printed, strict=True)]

    return run


def test_each_clip_and_caption_once_and_one_that_dies_leaves_its_rest(together, tmp_path):
    dead, one, two = together(2, 0, 0)
    assert dead is None
    # What the dead one finished is whole, so that six of the eight clips are left, and nothing is made twice.
    assert len(one["latents"] + two["latents"]) == len(set(one["latents"] + two["latents"])) == 6
    captions = one["captions"] + two["captions"]
    assert len(captions) == len(set(captions))
    assert one["digest"] == two["digest"]
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_what_another_is_at_comes_last_and_a_stop_ends_the_wait(tmp_path):
    store, asked = Store(tmp_path), []

    def stop():
        asked.append(1)
        if len(asked) > 1:
            raise Interrupted("stopped")

    with Claims(tmp_path) as other, Claims(tmp_path) as mine:
        assert other.take("a")
        found = rounds({"a": 1, "b": 2}, "text", store, mine, stop)
        assert list(next(found)) == [("b", 2)]
        mine.release("b")
        with pytest.raises(Interrupted):
            next(found)
        other.release("a")
        again = rounds({"a": 1}, "text", store, mine, stop)
        assert list(next(again)) == [("a", 1)], "not made by the other, so it is to be made"
    assert not list((tmp_path / LOCKS).iterdir())


def test_what_was_made_meanwhile_is_not_made_again(tmp_path):
    store = Store(tmp_path)
    with Claims(tmp_path) as other, Claims(tmp_path) as mine:
        assert other.take("ab")
        found = rounds({"ab": 1}, "text", store, mine, lambda: None)
        assert list(next(found)) == []
        store.write("text", "ab", {"video": torch.zeros(1)}, {})
        other.release("ab")
        assert next(found, None) is None
        assert [list(part) for part in rounds({"ab": 1}, "text", store, mine, lambda: None)] == [[]]


def test_a_disk_without_locks_is_said(tmp_path):
    (tmp_path / LOCKS / "a.lock").mkdir(parents=True)
    with Claims(tmp_path) as claims, pytest.raises(LTX2Error, match="another disk"):
        claims.take("a")
