"""Files are read at the times that a frame rate asks for, sound stays in step, and what is written reads back."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.media.audio import Waveform, decode_audio, fit_length, resample
from ltx2core.media.probe import probe
from ltx2core.media.video import decode_video, load_image
from ltx2core.media.write import exact_rate, write_audio, write_video


def write_clock(path, times, rate, size=(64, 48), sound=None, codec="libx264"):
    """A clip whose picture's brightness tells the time: grey level = 100 * seconds; frames at exactly ``times``."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "1", "preset": "ultrafast"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 12000)
        for t in times:
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), round(100 * t), np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(t * 12000), Fraction(1, 12000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown_times(frames):
    return frames.float().mean((1, 2, 3)) / 100


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(24000, 1001), Fraction(30), Fraction(50), Fraction(60000, 1001)])
def test_frames_are_those_of_their_times(tmp_path, rate):
    path = write_clock(tmp_path / "clock.mp4", [i / float(rate) for i in range(int(2 * rate))], rate)
    frames = decode_video(path, frame_rate=25, num_frames=41, start=0.2)
    wanted = 0.2 + torch.arange(41) / 25
    # Half a source frame of time, and two grey levels of the codec.
    assert (shown_times(frames) - wanted).abs().max() <= 0.5 / float(rate) + 0.02


def test_variable_frame_rate(tmp_path):
    times = [0.0, 0.04, 0.08, 0.5, 0.54, 1.2, 1.24, 1.28, 1.6]
    frames = decode_video(write_clock(tmp_path / "variable.mkv", times, 25), frame_rate=25, num_frames=39)
    wanted = torch.arange(39) / 25
    nearest = torch.tensor([min(times, key=lambda t: abs(t - w)) for w in wanted.tolist()])
    assert ((shown_times(frames) - nearest).abs() < 0.03).float().mean() > 0.97


def test_seeking_far_gives_the_same_frames(tmp_path):
    path = write_clock(tmp_path / "long.mp4", [i / 25 * 0.4 for i in range(150)], 25)
    whole = decode_video(path, frame_rate=25, num_frames=55, start=0.0)
    assert torch.equal(decode_video(path, frame_rate=25, num_frames=3, start=2.08), whole[52:55])


def test_too_short_is_said(tmp_path):
    path = write_clock(tmp_path / "short.mp4", [i / 25 for i in range(10)], 25)
    assert len(decode_video(path, frame_rate=25, num_frames=10)) == 10
    with pytest.raises(LTX2Error, match="gives 1[01] frames at 25 .* 17 are needed"):
        decode_video(path, frame_rate=25, num_frames=17)


def test_cover_keeps_proportions(tmp_path):
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (400, 100), "black")
    ImageDraw.Draw(image).ellipse((180, 30, 220, 70), fill="white")
    image.save(tmp_path / "circle.png")
    frame = load_image(tmp_path / "circle.png", (100, 100))[0, ..., 0] > 128
    columns, rows = frame.any(0).sum(), frame.any(1).sum()
    assert abs(int(columns) - 40) <= 2 and abs(int(rows) - 40) <= 2


def beeps(rate, channels=2, seconds=2.0, every=0.5):
    """Clicks of 5 ms at 0, 0.5, 1 … seconds."""
    samples = torch.zeros(channels, int(rate * seconds))
    for i in range(int(seconds / every)):
        begin = int(i * every * rate)
        samples[:, begin : begin + rate // 200] = 0.8 * torch.sin(2 * torch.pi * 1000 * torch.arange(rate // 200) / rate)
    return Waveform(samples, rate)


def onsets(waveform):
    loud = waveform.samples.abs().amax(0) > 0.3
    starts = torch.nonzero(loud).flatten()
    keep = torch.cat([torch.tensor([True]), starts.diff() > waveform.rate // 10])
    return (starts[keep] / waveform.rate).tolist()


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2), (48000, 2), (96000, 1)])
def test_sound_at_other_rates_keeps_its_times(tmp_path, rate, channels):
    write_audio(tmp_path / "beeps.wav", beeps(rate, channels))
    heard = decode_audio(tmp_path / "beeps.wav", rate=16000)
    assert heard.samples.shape == (2, 32000) and heard.rate == 16000
    np.testing.assert_allclose(onsets(heard), [0, 0.5, 1.0, 1.5], atol=0.004)
    if channels == 1:
        assert torch.equal(heard.samples[0], heard.samples[1])


def test_a_window_of_sound_is_in_step_with_its_picture(tmp_path):
    frames = torch.zeros(50, 48, 64, 3, dtype=torch.uint8)
    frames[:] = (torch.arange(50) * 4)[:, None, None, None]
    write_video(tmp_path / "clip.mp4", frames, 25, beeps(48000))
    window = decode_audio(tmp_path / "clip.mp4", rate=16000, start=0.4, duration=0.8)
    assert window.samples.shape == (2, 12800)
    np.testing.assert_allclose(onsets(window), [0.1, 0.6], atol=0.01)
    picture = decode_video(tmp_path / "clip.mp4", frame_rate=25, num_frames=20, start=0.4)
    assert (picture.float().mean((1, 2, 3)) - (torch.arange(10, 30) * 4)).abs().max() < 4


def test_written_video_reads_back(tmp_path):
    frames = torch.randint(0, 255, (17, 6, 8, 3)).repeat_interleave(16, 1).repeat_interleave(16, 2).to(torch.uint8)
    path = write_video(tmp_path / "out.mp4", frames, 24000 / 1001, beeps(24000, seconds=0.7), {"comment": '{"prompt": "ü"}'})
    info = probe(path)
    assert (info.width, info.height, info.frames, info.has_audio) == (128, 96, 17, True)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == Fraction(24000, 1001) and container.metadata["comment"] == '{"prompt": "ü"}'
    assert (decode_video(path, frame_rate=24000 / 1001, num_frames=17).float() - frames.float()).abs().mean() < 8


def test_exact_rates():
    assert [exact_rate(r) for r in (25, 23.976, 29.97, 59.94, 12.5)] == [25, Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001), Fraction(25, 2)]


def test_five_channels_are_mixed_down(tmp_path):
    with av.open(str(tmp_path / "surround.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000, layout="5.1")
        tone = (np.sin(np.arange(48000) * 0.05) * 8000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(tone[None, :, None], 6, 2).reshape(1, -1), format="s16", layout="5.1")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    heard = decode_audio(tmp_path / "surround.wav", rate=16000)
    assert heard.samples.shape == (2, 16000) and heard.samples.abs().max() > 0.2


def test_no_sound_is_none_and_broken_files_are_named(tmp_path):
    path = write_clock(tmp_path / "silent.mp4", [i / 25 for i in range(10)], 25)
    assert decode_audio(path, rate=16000) is None
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with pytest.raises(LTX2Error, match="broken.mp4 cannot be read .* take it out of the folder"):
        probe(tmp_path / "broken.mp4")
    with pytest.raises(LTX2Error, match="There is no file"):
        probe(tmp_path / "absent.mp4")


def test_lengths_and_rates_of_waveforms():
    wave = Waveform(torch.ones(1, 8000), 8000)
    assert fit_length(wave, 0.5).samples.shape == (1, 4000)
    longer = fit_length(wave, 1.5).samples
    assert longer.shape == (1, 12000) and longer[:, 8000:].abs().max() == 0
    assert resample(wave, 16000).samples.shape == (2, 16000)
