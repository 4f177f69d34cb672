"""What becomes of every file of a folder."""

import shutil

import pytest
import torch

from ltx2core.data.buckets import size_for
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.demo_clips import write_demo_clips
from ltx2core.errors import LTX2Error
from ltx2core.media.probe import probe
from ltx2core.media.write import write_video


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_demo_clips(folder, count=5)
    return folder


@pytest.fixture
def folder(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "clips")


def spec(folder, **values):
    return DatasetSpec.from_dict({"folder": str(folder), "width": 128, "height": 96, "frames": 17, **values})


def test_demo_clips_cover_what_folders_hold(tmp_path):
    infos = [probe(p) for p in write_demo_clips(tmp_path)]
    assert {round(i.frame_rate) for i in infos} == {24, 25, 30}
    assert sum(not i.has_audio for i in infos) == 1 and sum(i.audio_channels == 1 for i in infos) == 1 and sum(i.height > i.width for i in infos) == 1
    assert len({(i.width, i.height) for i in infos}) >= 4 and len({round(i.duration, 1) for i in infos}) >= 4


def test_clips_captions_and_buckets(folder):
    index = scan(spec(folder))
    assert [c.has_audio for c in index.clips] == [True, True, True, False, True]
    assert str(index.clips[0].bucket) == "128x96@17" and str(index.clips[4].bucket) == "96x128@17"
    assert index.clips[0].caption == (folder / "clip_000.txt").read_text().strip()
    assert not index.dropped and not index.messages


def test_61_frames_and_odd_sizes_are_snapped_and_said(folder):
    index = scan(spec(folder, frames=61, width=1280, height=720))
    assert any("61 frames become 57" in m for m in index.messages)
    assert any("1280x720 becomes 1280x704" in m for m in index.messages)
    with pytest.raises(LTX2Error, match="at least 32"):
        scan(spec(folder, width=20))


def test_what_is_left_out_is_named(folder):
    (folder / "clip_001.txt").unlink()
    (folder / "clip_002.mp4").write_bytes(b"broken")
    (folder / "clip_003.txt").write_text("  \n", encoding="utf-8")
    write_video(folder / "short.mp4", torch.zeros(5, 96, 128, 3, dtype=torch.uint8), 25)
    (folder / "short.txt").write_text("Too short.", encoding="utf-8")
    (folder / "notes.md").write_text("not a clip", encoding="utf-8")
    index = scan(spec(folder))
    assert [c.path[-12:] for c in index.clips] == ["clip_000.mp4", "clip_004.mp4"]
    reasons = " | ".join(index.messages)
    for said in ("clip_001.mp4 is left out: it has no caption", "clip_002.mp4 cannot be read", "clip_003.mp4 is left out: it has an empty caption", "short.mp4 is left out: it has 5 frames"):
        assert said in reasons


def test_no_clips(tmp_path, folder):
    with pytest.raises(LTX2Error, match="There is no folder"):
        scan(spec(tmp_path / "absent"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(LTX2Error, match="No clips were found"):
        scan(spec(empty))
    with pytest.raises(LTX2Error, match="None of the 5 clips .* can be used; the first: clip_000.mp4 .*min_frames is 500"):
        scan(spec(folder, frames=505, min_frames=500))


def test_caption_strategies(folder):
    assert scan(spec(folder, caption_strategy="filename")).clips[0].caption == "clip 000"
    assert scan(spec(folder, caption_strategy="instanceprompt", instance_prompt="a dog", trigger="sks")).clips[0].caption == "sks a dog"
    with pytest.raises(LTX2Error, match="needs an instance_prompt"):
        spec(folder, caption_strategy="instanceprompt")


def test_fixed_buckets_crop_and_shorter_clips_keep_what_they_have(folder):
    index = scan(spec(folder, bucket_strategy="fixed", frames=49, frame_rate=25))
    assert {(c.bucket.width, c.bucket.height) for c in index.clips} == {(128, 96)}
    # 1.4 s at 25 frames a second are 35 frames, of which 33 = 8 * 4 + 1 can be used.
    assert index.clips[0].bucket.frames == 33


@pytest.mark.parametrize(("source", "expected"), [((1920, 1080), (832, 480)), ((1080, 1920), (480, 832)), ((1000, 1000), (640, 640)), ((768, 512), (768, 512))])
def test_sizes_keep_area_and_proportions(source, expected):
    width, height = size_for(768, 512, *source)
    assert (width, height) == expected or abs(width / height / (source[0] / source[1]) - 1) < 0.06
    assert width % 32 == height % 32 == 0 and width * height <= 768 * 512 * 1.1


@pytest.mark.parametrize(
    ("raw", "said"),
    [({"widht": 3}, "did you mean"), ({"frames": "many"}, "frames"), ({"repeats": -1}, "repeats is -1"), ({"frame_rate": 0}, "frame_rate is 0"), ({"caption_strategy": "x"}, "choose one of textfile")],
)
def test_bad_settings_are_one_sentence(folder, raw, said):
    with pytest.raises(LTX2Error, match=said):
        spec(folder, **raw)
