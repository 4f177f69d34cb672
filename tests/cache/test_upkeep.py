"""cache verify, gc and stats on a cache that was really made."""

import json
import os
import time

import pytest

from ltx2core.cache.build import build_cache
from ltx2core.cache.claims import LOCKS, Claims
from ltx2core.cache.dataset import DatasetCache
from ltx2core.cache.store import Store
from ltx2core.cli import main
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec

DAY = 24 * 3600


@pytest.fixture(scope="module")
def built(parts, drawn, tmp_path_factory):
    """A cache of one set, with an entry that is in none and a file that was never finished."""
    import shutil

    import torch

    from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag

    root, clips = tmp_path_factory.mktemp("upkeep") / "cache", tmp_path_factory.mktemp("two")
    for name in ("clip_000", "clip_001"):
        for suffix in (".mp4", ".txt"):
            shutil.copy(drawn / f"{name}{suffix}", clips)
    services = {"residency": PlainResidency(torch.device("cpu")), "reporter": ConsoleReporter(quiet=True), "stop": StopFlag()}
    index = scan(DatasetSpec(str(clips), width=64, height=64, frames=9))

    def build():
        return build_cache(index, *parts, root, **services)

    return build, root


@pytest.fixture
def cache(built, tmp_path):
    import shutil

    build, root = built
    shutil.rmtree(root, ignore_errors=True)
    made = build()
    store = Store(root)
    store.write("text", "f" * 64, store.read("text", made.empty_text)[0], {"prompt": "Only sampled."})
    (root / "latents" / "aa").mkdir(exist_ok=True)
    left = root / "latents" / "aa" / ".aa.safetensors.0000.tmp"
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 2 * DAY,) * 2)
    return made


def said(capsys, *arguments):
    code = main(["cache", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_stats(cache, capsys):
    code, found = said(capsys, "stats", cache.root)
    files = {kind: list((cache.root / kind).rglob("*.safetensors")) for kind in ("latents", "text")}
    assert code == 0 and found["manifests"] == 1 and found["half_written"] == {"entries": 1, "bytes": 4}
    assert found["kinds"] == {kind: {"entries": len(paths), "bytes": sum(p.stat().st_size for p in paths)} for kind, paths in files.items()}
    assert found["unused"]["entries"] == 1 and len(files["latents"]) == 2
    assert main(["cache", "stats", str(cache.root)]) == 0 and "1 sets" in capsys.readouterr().out


def test_verify_finds_what_changed_without_a_new_time_and_the_next_caching_mends_it(cache, built, capsys):
    assert said(capsys, "verify", cache.root) == (0, {"entries": 6, "damaged": {}, "lacking": {}})
    path = Store(cache.root).path("latents", cache.clips[0].latents)
    state, whole = path.stat(), path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a failing disk does it
    code, found = said(capsys, "verify", cache.root)
    manifest = next((cache.root / "manifests").iterdir())
    assert code == 1 and list(found["damaged"]) == [str(path)] and found["lacking"] == {str(manifest): 1}
    built[0]()
    assert path.read_bytes()[-1] == whole[-1] and said(capsys, "verify", cache.root)[0] == 0


def test_gc_removes_what_no_set_names_and_is_old(cache, capsys):
    unused = Store(cache.root).path("text", "f" * 64)
    assert said(capsys, "gc", cache.root)[1]["kinds"] == {} and unused.is_file(), "it was written just now"
    os.utime(unused, (time.time() - 8 * DAY,) * 2)
    code, found = said(capsys, "gc", cache.root, "--dry-run")
    assert code == 0 and found["kinds"] == {"text": {"entries": 1, "bytes": unused.stat().st_size}} and unused.is_file()
    assert said(capsys, "gc", cache.root)[1] == {**found, "half_written": {"entries": 0, "bytes": 0}}
    assert not unused.exists() and not list(cache.root.rglob("*.tmp"))
    again = DatasetCache.load(next((cache.root / "manifests").iterdir()))
    assert [again[i].bucket for i in range(len(again))]
    next((cache.root / "manifests").iterdir()).unlink()
    assert said(capsys, "gc", cache.root, "--days", "0")[1]["kinds"].keys() == {"latents", "text"}
    assert not list(cache.root.rglob("*.safetensors"))


def test_gc_lets_work_go_on_that_another_process_is_at(cache, capsys):
    (cache.root / LOCKS).mkdir(exist_ok=True)
    (cache.root / LOCKS / "gone.lock").touch()
    with Claims(cache.root) as other:
        assert other.take("busy")
        assert said(capsys, "gc", cache.root)[0] == 0
        assert [p.name for p in (cache.root / LOCKS).iterdir()] == ["busy.lock"]
        with Claims(cache.root) as mine:
            assert not mine.take("busy")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["verify"], "needs the cache folder"), (["stats", "{}"], "is no cache"), (["run.json", "{}"], "run file alone"), (["gc", "{}"], "is no cache")],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(arguments, said, tmp_path, capsys):
    assert main(["cache", *(a.format(tmp_path) for a in arguments)]) == 1
    assert said in capsys.readouterr().err


def test_a_broken_manifest_removes_nothing(cache, capsys):
    """Its entries would look unused."""
    (cache.root / "manifests" / "broken.json").write_text("{", encoding="utf-8")
    assert main(["cache", "gc", str(cache.root), "--days", "0"]) == 1 and "cannot be read" in capsys.readouterr().err
    assert len(list(cache.root.rglob("*.safetensors"))) == 6
