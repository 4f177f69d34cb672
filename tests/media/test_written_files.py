"""Written files measured after decoding: frame rate, sync of picture and sound, rate of the sound, ProRes, tags."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.media.audio import Waveform, decode_audio
from ltx2core.media.video import decode_video
from ltx2core.media.write import exact_rate, suffix, write_video

EVERY = 25  # frames between two flashes


def flashing(rate: float, sound_rate: int, seconds: float = 10.0):
    """Pictures that are white for one frame a second of 25 frames, and a burst of sound at the same moments."""
    count = round(rate * seconds)
    frames = torch.zeros(count, 64, 64, 3, dtype=torch.uint8)
    frames[::EVERY] = 255
    samples = torch.zeros(2, round(count / rate * sound_rate))
    burst = 0.8 * torch.sin(torch.arange(round(0.02 * sound_rate)) * 2 * torch.pi * 1000 / sound_rate)
    for i in range(0, count, EVERY):
        at = round(i / rate * sound_rate)
        part = samples[:, at : at + len(burst)]
        part += burst[: part.shape[1]]
    return frames, Waveform(samples, sound_rate)


def flashes(path):
    """Seconds at which the picture turns white, by the time stamps of a plain decoder."""
    with av.open(str(path)) as container:
        times = [(float(f.pts * f.time_base), f.to_ndarray(format="gray").mean()) for f in container.decode(video=0)]
    return [t for t, light in times if light > 128], times


def bursts(path):
    """Seconds at which the sound begins after silence, by the time stamps of a plain decoder."""
    with av.open(str(path)) as container:
        found = []
        for frame in container.decode(audio=0):
            start, loud = float(frame.pts * frame.time_base), np.abs(frame.to_ndarray()).max(0) > 0.2
            for i in np.flatnonzero(loud):
                time = start + i / frame.sample_rate
                if not found or time - found[-1] > 0.5:
                    found.append(time)
        return found


@pytest.mark.parametrize(("codec", "rate", "sound_rate"), [("h264", 25.0, 24000), ("h264", 23.976, 48000), ("prores", 25.0, 24000), ("h264", 50.0, 24000)])
def test_picture_and_sound_stay_in_step_over_ten_seconds(tmp_path, codec, rate, sound_rate):
    frames, sound = flashing(rate, sound_rate)
    path = write_video(tmp_path / f"a{suffix(codec)}", frames, rate, sound, codec=codec)
    seen, times = flashes(path)
    heard = bursts(path)
    assert len(seen) == len(heard) == len(range(0, len(frames), EVERY))
    offsets = [h - s for h, s in zip(heard, seen, strict=True)]
    assert max(map(abs, offsets)) < 1 / rate, offsets
    assert abs(offsets[-1] - offsets[0]) < 0.25 / rate, "it drifts"
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == exact_rate(rate)
        assert container.streams.audio[0].rate == sound_rate and container.streams.audio[0].codec_context.name.startswith("aac")
    steps = np.diff([t for t, _ in times])
    assert len(times) == len(frames) and np.allclose(steps, float(1 / exact_rate(rate)), atol=1e-4)


def test_rates_are_exact():
    assert [exact_rate(r) for r in (25.0, 23.976, 29.97, 24.0, 12.5)] == [25, Fraction(24000, 1001), Fraction(30000, 1001), 24, Fraction(25, 2)]


def test_prores_keeps_more_than_h264(tmp_path):
    draw = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(draw.normal(size=(4, 64, 96, 3)), axis=1), axis=2)
    frames = torch.from_numpy(np.clip(128 + smooth * 100 / np.abs(smooth).max(), 0, 255).astype(np.uint8))
    wrong = {}
    for codec in ("h264", "prores"):
        path = write_video(tmp_path / f"{codec}{suffix(codec)}", frames, 25.0, codec=codec)
        wrong[codec] = (decode_video(path, frame_rate=25, num_frames=4).float() - frames.float()).pow(2).mean().item()
    assert wrong["prores"] < wrong["h264"] / 2
    with av.open(str(tmp_path / "prores.mov")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.profile) == ("prores", "yuv422p10le", "HQ")


def test_pictures_one_after_another_make_the_same_file(tmp_path):
    # ProRes, since x264 does not make the same bytes of the same pictures every time.
    frames = torch.randint(0, 255, (5, 64, 96, 3), dtype=torch.uint8)
    paths = [write_video(tmp_path / f"{i}.mov", given, 25.0, codec="prores") for i, given in enumerate((frames, (f.numpy() for f in frames)))]
    assert torch.equal(*(decode_video(p, frame_rate=25, num_frames=5) for p in paths))


def test_index_and_tags_stand_in_front_of_long_films(tmp_path):
    frames = torch.randint(0, 255, (80, 256, 256, 3), dtype=torch.uint8)
    path = write_video(tmp_path / "long.mp4", frames, 25.0, metadata={"workflow": '{"a": 1}'})
    data = path.read_bytes()
    assert len(data) > 3 * 2**20 and data.find(b'{"a": 1}') < 2**20 and data.find(b"moov") < data.find(b"mdat")


@pytest.mark.parametrize(
    ("name", "shape", "codec", "said"),
    [("a.mp4", (2, 32, 32), "prores", "end in .mov"), ("a.mov", (2, 32, 32), "h264", "end in .mp4"), ("a.mp4", (0, 32, 32), "h264", "no frames"),
     ("a.mp4", (2, 32, 31), "h264", "31x32 cannot be written"), ("a.mp4", (2, 32, 32), "vp9", "'vp9' is not known")],
)  # fmt: skip
def test_files_that_cannot_be_written(tmp_path, name, shape, codec, said):
    with pytest.raises(LTX2Error, match=said):
        write_video(tmp_path / name, torch.zeros(*shape, 3, dtype=torch.uint8), 25.0, codec=codec)
    assert not list(tmp_path.iterdir())


def test_sound_of_one_channel_and_long_sound(tmp_path):
    sound = Waveform(0.3 * torch.sin(torch.arange(24000 * 2) / 10)[None], 24000)
    path = write_video(tmp_path / "a.mp4", torch.zeros(25, 32, 32, 3, dtype=torch.uint8), 25.0, sound)
    heard = decode_audio(path, rate=24000, channels=1)
    assert heard.seconds == pytest.approx(2.0, abs=0.1)
