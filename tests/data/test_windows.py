"""Parts of long clips: each at its time, with its own sound in step, drawn by the seed alone."""

import random
import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch

from ltx2core.data.read import read_pictures, read_sound
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.data.windows import segments, window_starts
from ltx2core.errors import LTX2Error
from ltx2core.media.scenes import cut_points


def spec(folder, **values):
    return DatasetSpec.from_dict({"folder": str(folder), "width": 96, "height": 64, "frames": 49, **values})


def picture_time(clip):
    """Seconds that the grey of the first and last picture tells."""
    level = read_pictures(clip).float().mean((1, 2, 3))
    return [(float(level[i]) - 20) / 35 for i in (0, -1)]


def beeps(clip):
    heard = read_sound(clip, 16000)
    starts = torch.nonzero(heard.samples.abs().amax(0) > 0.25).flatten()
    keep = torch.cat([torch.tensor([True]), starts.diff() > 1600])
    return (starts[keep] / 16000).numpy() + clip.start


RATES = [Fraction(24), Fraction(24000, 1001), Fraction(25), Fraction(30), Fraction(50), Fraction(60000, 1001)]


@pytest.mark.parametrize(
    ("mode", "expected", "rate"),
    [("first", [0], Fraction(24)), ("last", [6.2 - 49 / 25], Fraction(24)), *(("all", [0, 49 / 25, 98 / 25], rate) for rate in RATES)],
)
def test_windows_are_at_their_times_with_their_sound(tmp_path, film, mode, expected, rate):
    film(tmp_path / "film.mp4", 6.2, rate=rate)
    index = scan(spec(tmp_path, windows=mode))
    assert [c.start for c in index.clips] == pytest.approx(expected, abs=0.045)
    for clip in index.clips:
        assert picture_time(clip) == pytest.approx([clip.start, clip.start + 48 / 25], abs=float(0.5 / rate) + 2 / 35)  # two grey levels of the codec
        heard = beeps(clip)
        np.testing.assert_allclose(heard, np.round(heard), atol=0.015)
        assert len(heard) == len([s for s in range(7) if clip.start - 0.01 <= s < clip.start + clip.seconds - 0.03])
        assert read_sound(clip, 16000).samples.shape == (2, round(49 / 25 * 16000))


def test_random_windows_belong_to_the_seed_and_the_name(tmp_path, film):
    (tmp_path / "a").mkdir()
    film(tmp_path / "a" / "film.mp4", 6)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    drawn = {s: [c.start for c in scan(spec(tmp_path / "a", windows="random", windows_per_clip=3, seed=s)).clips] for s in range(4)}
    assert all(len(set(starts)) == 3 and 0 <= min(starts) and max(starts) <= 6 - 49 / 25 + 0.02 for starts in drawn.values())
    assert len(set(map(tuple, drawn.values()))) == 4
    assert [c.start for c in scan(spec(tmp_path / "b", windows="random", windows_per_clip=3, seed=2)).clips] == drawn[2]


def test_starts_are_inside_and_different():
    for available, length, count in ((49, 49, 3), (50, 49, 3), (500, 17, 40)):
        starts = window_starts("random", available, length, count, random.Random(0))
        assert len(set(starts)) == len(starts) == min(count, available - length + 1)
        assert all(0 <= s <= available - length for s in starts)
    assert window_starts("all", 50, 17, 1, random.Random(0)) == (0, 17)
    assert segments(10, (3.0, 12.0, 7.0)) == ((0.0, 3.0), (3.0, 7.0), (7.0, 10))


def test_scene_cuts_are_found_and_no_window_crosses_one(tmp_path, film):
    path = film(tmp_path / "film.mp4", 6.4, scene=1.6)
    assert cut_points(path) == pytest.approx([1.6, 3.2, 4.8], abs=1e-6)
    index = scan(spec(tmp_path, windows="all", frames=17, split_scenes=True))
    assert [round(c.start, 2) for c in index.clips] == [0, 0.68, 1.6, 2.28, 3.2, 3.88, 4.8, 5.48]
    whole = film(tmp_path / "moving.mp4", 3)
    assert cut_points(whole) == ()


def test_sound_that_ends_early_is_not_trained_as_silence(tmp_path, film):
    import av

    film(tmp_path / "long.mp4", 4, sound="mono")
    with av.open(str(tmp_path / "long.mp4")) as source, av.open(str(tmp_path / "half.mp4"), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None and not (packet.stream.type == "audio" and packet.pts * packet.time_base > 2):
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    (tmp_path / "long.mp4").unlink()
    (tmp_path / "half.txt").write_text("Half.", encoding="utf-8")
    index = scan(spec(tmp_path, windows="all", frames=25))
    assert [c.has_audio for c in index.clips] == [True, True, False, False]
    silent = scan(spec(tmp_path, windows="all", frames=25, allow_zero_audio=True))
    assert all(c.has_audio for c in silent.clips) and read_sound(silent.clips[3], 16000).samples.abs().sum() == 0
    assert any("half.mp4" in m and "silence" in m for m in silent.messages)


def test_a_clip_changed_after_the_scan_is_an_error(tmp_path, film):
    path = film(tmp_path / "film.mp4", 3)
    clip = scan(spec(tmp_path)).clips[0]
    film(path, 1, sound=None)
    with pytest.raises(LTX2Error, match="film.mp4 gives 2[56] frames"):
        read_pictures(clip)
    with pytest.raises(LTX2Error, match="lost its sound"):
        read_sound(clip, 16000)
