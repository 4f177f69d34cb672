"""Buckets, crops, filters, sound partners, sound alone, pictures, and several datasets at once."""

import numpy as np
import pytest
import torch
from PIL import Image

from ltx2core.data.mixture import scan_all, shares_of
from ltx2core.data.read import read_pictures, read_sound, reading_facts, source_files
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.errors import LTX2Error
from ltx2core.media.audio import Waveform
from ltx2core.media.write import write_audio


def spec(folder, **values):
    return DatasetSpec.from_dict({"folder": str(folder), "width": 96, "height": 64, "frames": 49, "caption_strategy": "filename", **values})


def tone(path, seconds, rate=44100, channels=1):
    return write_audio(path, Waveform(0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(round(seconds * rate)) / rate).expand(channels, -1).contiguous(), rate))


@pytest.mark.parametrize(
    ("values", "frames"),
    [({}, 41), ({"bucket_strategy": "resolution_frames"}, 41), ({"bucket_strategy": "resolution_frames", "frame_interval": 20}, 33), ({"bucket_strategy": "resolution_frames", "frame_interval": 200}, 41), ({"bucket_strategy": "fixed", "frame_interval": 20}, 33), ({"frames": 25}, 25)],
)  # fmt: skip
def test_frames_of_a_bucket(tmp_path, film, values, frames):
    """1.8 s are 45 frames: 41 = 8 * 5 + 1 of them, or in steps of 20, 40, of which 33; a step beyond the clip is none."""
    film(tmp_path / "film.mp4", 1.8, sound=None)
    assert scan(spec(tmp_path, **values)).clips[0].bucket.frames == frames


def test_limits_name_what_they_leave_out(tmp_path, film):
    film(tmp_path / "short.mp4", 0.6, sound=None)
    film(tmp_path / "long.mp4", 4, sound=None)
    film(tmp_path / "wide.mp4", 2, sound=None, size=(192, 64))
    film(tmp_path / "tall.mp4", 2, sound=None, size=(64, 128))
    film(tmp_path / "small.mp4", 2, sound=None, size=(48, 32))
    film(tmp_path / "good.mp4", 2, sound=None)
    index = scan(spec(tmp_path, min_frames=20, max_frames=75, min_aspect_ratio=1, max_aspect_ratio=2, min_side=50))
    assert [c.caption for c in index.clips] == ["good"]
    reasons = {d.path.split("/")[-1]: d.reason for d in index.dropped}
    assert reasons["short.mp4"] == "has 15 frames at 25 frames a second; min_frames is 20"
    assert reasons["long.mp4"] == "has 100 frames at 25 frames a second; max_frames is 75"
    assert "max_aspect_ratio is 2" in reasons["wide.mp4"] and "min_aspect_ratio is 1" in reasons["tall.mp4"]
    assert reasons["small.mp4"] == "is 48x32; min_side is 50"
    assert sum(" is left out: it " in m for m in index.messages) == 5


def test_crops_keep_the_part_that_was_asked_for(tmp_path):
    """A ramp from left to right, twice as wide as the bucket: its mean tells where the crop lies."""
    ramp = np.linspace(0, 240, 384).astype(np.uint8)
    for i in range(6):
        Image.fromarray(np.repeat(np.repeat(ramp[None, :, None], 128, 0), 3, 2)).save(tmp_path / f"{i}.png")
    common = {"dataset_type": "image", "bucket_strategy": "fixed", "width": 192, "height": 128}

    def means(**values):
        return [float(read_pictures(c).float().mean()) for c in scan(spec(tmp_path, **common, **values)).clips]

    assert means() == pytest.approx([120] * 6, abs=2) and means(crop="corner") == pytest.approx([60] * 6, abs=2)
    drawn = means(crop="random", seed=1)
    assert len({round(m) for m in drawn}) >= 4 and all(58 <= m <= 182 for m in drawn)
    assert means(crop="random", seed=1) == drawn != means(crop="random", seed=2)
    plain, corner = (scan(spec(tmp_path, **common, crop=c)).clips[0] for c in ("center", "corner"))
    assert reading_facts(plain) == {} and reading_facts(corner) == {"centre": [0.0, 0.0]}


def test_pictures_are_clips_of_one_frame(tmp_path, film):
    Image.new("RGB", (60, 90), "red").save(tmp_path / "red.png")
    Image.new("L", (90, 60), 255).save(tmp_path / "grey.webp")
    film(tmp_path / "film.mp4", 2)
    both, pictures, videos = (scan(spec(tmp_path, dataset_type=kind)) for kind in ("auto", "image", "video"))
    assert [c.caption for c in both.clips] == ["film", "grey", "red"]
    assert [c.caption for c in pictures.clips] == ["grey", "red"] and [c.caption for c in videos.clips] == ["film"]
    assert [str(c.bucket) for c in pictures.clips] == ["96x64@1", "64x96@1"] and not any(c.has_audio for c in pictures.clips)
    assert read_pictures(pictures.clips[1]).shape == (1, 96, 64, 3)


def test_sounds_of_another_folder_are_paired_by_stem(tmp_path, film):
    clips, sounds = tmp_path / "clips", tmp_path / "sounds"
    clips.mkdir()
    for name in ("one", "two", "three"):
        film(clips / f"{name}.mp4", 2, sound="mono" if name == "one" else None)
    tone(sounds / "one.wav", 2.0)
    tone(sounds / "two.flac", 2.0, 8000)
    tone(sounds / "nobody.wav", 2.0)
    index = scan(spec(clips, sound_folder=str(sounds)))
    by_name = {c.caption: c for c in index.clips}
    assert {n: c.has_audio for n, c in by_name.items()} == {"one": True, "two": True, "three": False}
    assert any(m.startswith("1 clips found no sound of their name") and "three.mp4" in m for m in index.messages)
    assert any(m.startswith("1 sounds") and "nobody.wav" in m for m in index.messages)
    heard = read_sound(by_name["one"], 16000)
    # The partner's tone, not the clip's own beeps: 440 turns a second, in both channels.
    crossings = (heard.samples[0, 1:] * heard.samples[0, :-1] < 0).sum() / 2 / heard.seconds
    assert float(crossings) == pytest.approx(440, abs=5) and heard.samples.shape == (2, round(49 / 25 * 16000))
    assert [p.name for p in source_files(by_name["two"])] == ["two.mp4", "two.flac"]
    tone(sounds / "two.wav", 1)
    with pytest.raises(LTX2Error, match="two.flac .* have one stem|two.wav and two.flac .* have one stem"):
        scan(spec(clips, sound_folder=str(sounds)))


def test_a_short_sound_is_told_and_where_silence_is_meant_it_is_kept(tmp_path, film):
    clips, sounds = tmp_path / "clips", tmp_path / "sounds"
    clips.mkdir()
    film(clips / "own.mp4", 2, sound="mono")
    film(clips / "short.mp4", 2, sound=None)
    tone(sounds / "short.wav", 0.5)
    index = scan(spec(clips, sound_folder=str(sounds)))
    told = [m for m in index.messages if "no sound in most" in m]
    assert not any(c.has_audio for c in index.clips) and len(told) == 1 and "short.mp4" in told[0] and "own.mp4" not in told[0]
    clip = next(c for c in scan(spec(clips, sound_folder=str(sounds), allow_zero_audio=True)).clips if c.caption == "short")
    samples = read_sound(clip, 16000).samples
    assert not clip.silence and samples[:, :7000].abs().max() > 0.3 and not samples[:, 9000:].any()


def test_sound_alone(tmp_path, film):
    for seconds in (2.0, 3.1, 7.0, 30.0):
        tone(tmp_path / f"tone {seconds}.wav", seconds, channels=2)
    film(tmp_path / "film.mp4", 4)
    film(tmp_path / "silent.mp4", 4, sound=None)
    index = scan(spec(tmp_path, dataset_type="audio", max_seconds=20))
    # 3 s are 75 frames at 25 a second, of which 73 = 8 * 9 + 1; 6 s give 145; 2 s are below the interval and stay 49.
    assert {c.caption: c.bucket.frames for c in index.clips} == {"film": 73, "tone 2.0": 49, "tone 3.1": 73, "tone 7.0": 145}
    assert {(c.bucket.width, c.bucket.height, c.has_video, c.has_audio) for c in index.clips} == {(32, 32, False, True)}
    assert read_pictures(index.clips[0]) is None and read_sound(index.clips[0], 16000).samples.shape == (2, round(73 / 25 * 16000))
    reasons = " ".join(index.messages)
    assert "tone 30.0.wav is left out: it lasts 30.00 s; max_seconds is 20" in reasons and "silent.mp4 is left out: it has no sound" in reasons
    parts = scan(spec(tmp_path, dataset_type="audio", windows="all", window_seconds=6))
    assert [round(c.start, 2) for c in parts.clips if c.caption == "tone 30.0"] == [0, 5.8, 11.6, 17.4, 23.2]
    last = scan(spec(tmp_path, dataset_type="audio", windows="last", window_seconds=3)).clips[0]
    assert last.start + last.seconds == pytest.approx(4, abs=0.1)


def test_a_folder_of_another_type_says_which(tmp_path, film):
    tone(tmp_path / "tone.wav", 1)
    with pytest.raises(LTX2Error, match="No clips were found .*it has sounds; set dataset_type to audio"):
        scan(spec(tmp_path))
    (tmp_path / "inside").mkdir()
    film(tmp_path / "inside" / "film.mp4", 2)
    (tmp_path / "tone.wav").unlink()
    with pytest.raises(LTX2Error, match="it has folders inside; set recursive"):
        scan(spec(tmp_path))
    assert len(scan(spec(tmp_path, recursive=True)).clips) == 1


def test_several_datasets_are_scanned_together(tmp_path, film):
    for name, count in (("a", 1), ("b", 3)):
        (tmp_path / name).mkdir()
        for i in range(count):
            film(tmp_path / name / f"{i}.mp4", 1, sound=None)
    a, b, off = spec(tmp_path / "a", repeats=2), spec(tmp_path / "b"), spec(tmp_path / "none", disabled=True)
    both = scan_all([a, b, off])
    assert [(i.spec.name, len(i.clips)) for i in both.indexes] == [("a", 1), ("b", 3)] and not both.messages
    weighted = [spec(tmp_path / "a", probability=0.2), spec(tmp_path / "b", probability=0.6, frame_rate=24)]
    assert shares_of(weighted) == (0.2, 0.6) and shares_of([a, b]) is None
    assert "different frame rates (24, 25)" in scan_all(weighted).messages[0]
    with pytest.raises(LTX2Error, match="a has none; give one to all"):
        scan_all([a, spec(tmp_path / "b", probability=1.0)])
    with pytest.raises(LTX2Error, match="Two datasets are called a"):
        scan_all([a, a])
    with pytest.raises(LTX2Error, match="Dataset none: There is no folder"):
        scan_all([a, spec(tmp_path / "none")])
    with pytest.raises(LTX2Error, match="No dataset is enabled"):
        scan_all([off])


def test_max_samples_are_drawn_by_the_seed(tmp_path):
    for i in range(9):
        Image.new("RGB", (96, 64)).save(tmp_path / f"{i}.png")
    taken = [[c.caption for c in scan(spec(tmp_path, max_samples=4, seed=s)).clips] for s in (0, 0, 1)]
    assert taken[0] == taken[1] == sorted(taken[0]) and len(taken[0]) == 4 and taken[2] != taken[0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"windows": "some"}, "choose one of first, last, random, all"), ({"frame_interval": 8}, "resolution_frames or fixed"), ({"max_frames": 3}, "below min_frames"),
        ({"min_aspect_ratio": 2.0, "max_aspect_ratio": 1.0}, "no clip could be used"), ({"dataset_type": "audio", "audio": False}, "nothing to train"),
        ({"dataset_type": "image", "sound_folder": "x"}, "leave it empty"), ({"probability": -1.0}, "probability is -1"), ({"frame_rate": float("nan")}, "frame_rate is nan"),
        ({"caption_shuffle": {"count": 0}}, "count of at least 1"), ({"caption_shuffle": {"amount": 2}}, "has no option 'amount'"), ({"duration_interval": 0.0}, "seconds above 0"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(tmp_path, values, said):
    with pytest.raises(LTX2Error, match=said):
        spec(tmp_path, **values)
