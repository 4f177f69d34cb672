"""Codecs, containers and faults of real folders: times, colours and orientation survive, and a fault is one sentence."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from ltx2core.errors import LTX2Error
from ltx2core.media.audio import Waveform, decode_audio
from ltx2core.media.image import image_size, load_image
from ltx2core.media.mp4 import turned
from ltx2core.media.probe import probe
from ltx2core.media.video import decode_video
from ltx2core.media.write import write_audio, write_video

CODECS = {".flac": "flac", ".mp3": "libmp3lame", ".ogg": "vorbis", ".opus": "libopus", ".m4a": "aac", ".wav": "pcm_s24le", ".webm": "libopus", ".mkv": "ac3"}
COLOUR = (200, 30, 60)


def sound(seconds, rate=48000, layout="stereo", beeps=()):
    """float [1, S*C] packed: 20 ms of 1 kHz from each of ``beeps``."""
    samples = np.zeros(int(seconds * rate), np.float32)
    for begin in beeps:
        at = int(begin * rate)
        samples[at : at + rate // 50] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(rate // 50) / rate)
    channels = av.AudioLayout(layout).nb_channels
    return np.repeat((samples * 32767).astype(np.int16)[:, None], channels, 1).reshape(1, -1)


def mux_sound(container, stream, packed, layout, rate=48000, offset=0.0):
    frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), round(offset * rate)
    fifo_ready = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate, frame_size=stream.codec_context.frame_size or 1024)
    for part in [*fifo_ready.resample(frame), *fifo_ready.resample(None)]:
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def onsets(waveform):
    starts = torch.nonzero(waveform.samples.abs().amax(0) > 0.25).flatten()
    keep = torch.cat([torch.tensor([True]), starts.diff() > waveform.rate // 10])
    return (starts[keep] / waveform.rate).tolist()


@pytest.mark.parametrize(("suffix", "codec"), [(".mp3", "libmp3lame"), (".aac", "aac")])
def test_sound_without_a_table_of_contents_is_counted(tmp_path, suffix, codec):
    """Two seconds at 32 kbit/s and four at 192: the first bit rate says another length, and windows behind the end would be silence."""
    parts = b""
    for name, seconds, bit_rate in (("quiet", 2, 32_000), ("loud", 4, 192_000)):
        with av.open(str(tmp_path / f"{name}{suffix}"), "w", options={"write_xing": "0", "id3v2_version": "0"} if codec != "aac" else {}) as container:
            stream = container.add_stream(codec, rate=48000, layout="stereo")
            stream.bit_rate = bit_rate
            noise = np.random.default_rng(0).integers(-9000, 9000, (seconds * 48000, 2)) if name == "loud" else np.zeros((seconds * 48000, 2))
            mux_sound(container, stream, noise.astype(np.int16).reshape(1, -1), "stereo")
        parts += (tmp_path / f"{name}{suffix}").read_bytes()
    (tmp_path / f"both{suffix}").write_bytes(parts)
    info = probe(tmp_path / f"both{suffix}")
    assert info.duration == info.audio_to == pytest.approx(6, abs=0.15)


@pytest.mark.parametrize("suffix", list(CODECS))
def test_sound_of_every_format_keeps_its_times(tmp_path, suffix):
    path, beeps = tmp_path / f"sound{suffix}", [1.0, 7.5, 9.0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[suffix], rate=48000, layout="stereo", options={"strict": "experimental"})
        mux_sound(container, stream, sound(10, beeps=beeps), "stereo")
    info = probe(path)
    assert info.has_audio and not info.has_video and (info.audio_rate, info.audio_channels) == (48000, 2)
    assert info.duration == pytest.approx(10, abs=0.1)
    # Lossy codecs smear an onset by some milliseconds; one codec frame would be 20 or more.
    np.testing.assert_allclose(onsets(decode_audio(path, rate=16000)), beeps, atol=0.012)
    window = decode_audio(path, rate=16000, start=7.0, duration=1.0)
    assert window.samples.shape == (2, 16000)
    np.testing.assert_allclose(onsets(window), [0.5], atol=0.012)


def test_sound_that_begins_after_the_picture_stays_in_step(tmp_path):
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("flac", rate=48000, layout="mono")
        for i in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 255 if i == 25 else 0, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        mux_sound(container, audio, sound(1.2, layout="mono", beeps=[0.4]), "mono", offset=0.6)
    flash = int(decode_video(path, frame_rate=25, num_frames=50).float().mean((1, 2, 3)).argmax()) / 25
    assert flash == 1.0
    np.testing.assert_allclose(onsets(decode_audio(path, rate=16000)), [flash], atol=0.005)
    np.testing.assert_allclose(onsets(decode_audio(path, rate=16000, start=0.8, duration=0.6)), [flash - 0.8], atol=0.005)
    before = decode_audio(path, rate=16000, start=0.0, duration=0.4)
    assert before.samples.abs().sum() == 0 and before.samples.shape[1] <= 6400


def test_cover_pictures_are_no_video(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=48000, layout="stereo")
        picture = container.add_stream("png", rate=1)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic
        container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        mux_sound(container, stream, sound(1, beeps=[0.5]), "stereo")
    info = probe(path)
    assert info.has_audio and not info.has_video


def coloured(path, codec, pix_fmt, size=(640, 360), matrix=None, turn=0, options=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        if turn:
            stream.set_display_rotation(turn)
        picture = np.zeros((size[1], size[0], 3), np.uint8)
        picture[: size[1] // 2] = COLOUR
        for i in range(9):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt, dst_colorspace=matrix)
            if matrix:
                frame.colorspace = matrix
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "size", "suffix"),
    [
        ("libx264", "yuv420p10le", (128, 96), ".mp4"), ("libx264", "yuv444p", (101, 75), ".mkv"), ("libvpx-vp9", "yuva420p", (128, 96), ".webm"),
        ("qtrle", "argb", (128, 96), ".mov"), ("mpeg4", "yuv420p", (128, 96), ".avi"), ("mpeg2video", "yuv420p", (128, 96), ".mpg"),
        ("libx264", "yuv420p", (128, 96), ".mts"), ("wmv2", "yuv420p", (128, 96), ".wmv"), ("flv1", "yuv420p", (128, 96), ".flv"),
    ],
)  # fmt: skip
def test_depth_alpha_odd_sizes_and_old_codecs(tmp_path, codec, pix_fmt, size, suffix):
    path = coloured(tmp_path / f"clip{suffix}", codec, pix_fmt, size)
    info = probe(path)
    assert (info.width, info.height) == size and info.frames in (8, 9, 10)
    frames = decode_video(path, frame_rate=25, num_frames=9, size=(64, 32))
    assert frames.shape == (9, 32, 64, 3)
    assert (frames[:, :8].float().mean((0, 1, 2)) - torch.tensor(COLOUR)).abs().max() < 12
    assert frames[:, -8:].float().mean() < 12


@pytest.mark.parametrize("curve", [1, 16, 18])
def test_hdr_is_noticed(tmp_path, curve):
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.color_primaries, stream.codec_context.colorspace = curve, 9, 9
        for _ in range(9):
            frame = av.VideoFrame(128, 96, "yuv420p10le")
            frame.color_trc, frame.color_primaries, frame.colorspace = curve, 9, 9
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(tmp_path / "clip.mp4").hdr == (curve in (16, 18))
    assert decode_video(tmp_path / "clip.mp4", frame_rate=25, num_frames=9).shape == (9, 96, 128, 3)


@pytest.mark.parametrize(("size", "matrix"), [((1280, 720), 1), ((320, 180), 5)])
@pytest.mark.parametrize("named", [True, False])
def test_colours_follow_the_matrix_a_player_takes(tmp_path, size, matrix, named):
    """BT.709 from 720 lines on and BT.601 below where the file names none."""
    path = coloured(tmp_path / "clip.mp4", "libx264", "yuv420p", size, matrix if named else matrix, options={"crf": "4"})
    frames = decode_video(path, frame_rate=25, num_frames=1)
    assert (frames[:, : size[1] // 3].float().mean((0, 1, 2)) - torch.tensor(COLOUR)).abs().max() < 5


def test_written_colours_are_named_and_right(tmp_path):
    frames = torch.tensor(COLOUR, dtype=torch.uint8).expand(9, 96, 128, 3)
    path = write_video(tmp_path / "out.mp4", frames, 25)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).colorspace == 1
    assert (decode_video(path, frame_rate=25, num_frames=9).float() - frames.float()).abs().max() < 6


@pytest.mark.parametrize(("turn", "top_is"), [(90, "left"), (180, "bottom"), (270, "right"), (0, "top")])
def test_rotated_clips_are_upright(tmp_path, turn, top_is):
    path = coloured(tmp_path / "phone.mp4", "libx264", "yuv420p", (128, 96), turn=turn)
    info = probe(path)
    assert (info.width, info.height) == ((96, 128) if turn in (90, 270) else (128, 96))
    with av.open(str(path)) as container:
        shown = next(container.decode(video=0)).rotation % 360
    assert turned(path) == shown
    assert turned(coloured(tmp_path / "clip.mkv", "libx264", "yuv420p")) is None
    red = decode_video(path, frame_rate=25, num_frames=1)[0, ..., 0].float()
    sides = {"left": red[:, :20], "right": red[:, -20:], "top": red[:20], "bottom": red[-20:]}
    bright = {name: float(side.mean()) for name, side in sides.items()}
    assert max(bright, key=bright.get) == top_is


def test_frames_without_time_stamps_follow_one_another(tmp_path):
    raw = tmp_path / "raw.h264"
    with av.open(str(raw), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(90):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 2 * i, np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    clip = raw.rename(tmp_path / "raw.mp4")
    assert probe(clip).duration == pytest.approx(3.6, abs=0.1)
    for start in (0.0, 3.0):
        shown = decode_video(clip, frame_rate=25, num_frames=9, start=start).float().mean((1, 2, 3)) / 2 / 25
        assert (shown - (start + torch.arange(9) / 25)).abs().max() < 0.05


def test_pictures(tmp_path):
    turned = Image.new("RGB", (40, 20), (10, 200, 30))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert image_size(tmp_path / "turned.jpg") == (20, 40) and load_image(tmp_path / "turned.jpg").shape == (1, 40, 20, 3)
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(tmp_path / "deep.png")
    assert (load_image(tmp_path / "deep.png") == 128).all()
    Image.new("RGBA", (8, 8), (250, 250, 250, 0)).save(tmp_path / "clear.png")
    assert load_image(tmp_path / "clear.png").sum() == 0
    info = probe(tmp_path / "deep.png")
    assert (info.width, info.height, info.frames, info.has_video, info.has_audio) == (8, 8, 1, True, False)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_orientation_is_applied_whatever_else_its_tags_hold(tmp_path, orientation):
    picture = Image.new("RGB", (40, 24))
    for x, y, colour in ((0, 0, (250, 0, 0)), (32, 0, (0, 250, 0)), (0, 16, (0, 0, 250))):
        picture.paste(colour, (x, y, x + 8, y + 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8825)[1] = "N"
    picture.save(tmp_path / "camera.jpg", exif=exif, quality=100, subsampling=0)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "camera.jpg")))
    content = bytearray((tmp_path / "camera.jpg").read_bytes())
    content[content.index(b"Exif") + 47] = 30  # the tag after the orientation, of a kind that its value is not
    (tmp_path / "camera.jpg").write_bytes(content)
    assert np.array_equal(load_image(tmp_path / "camera.jpg")[0].numpy(), upright)
    assert image_size(tmp_path / "camera.jpg") == (upright.shape[1], upright.shape[0])


def test_a_decoder_that_breaks_in_its_own_way_is_one_sentence(tmp_path, monkeypatch):
    """Pillow's AVIF decoder raises RuntimeError, its EXIF parser struct.error."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for error in (RuntimeError("Decoding of color planes failed"), struct.error("required argument"), EOFError(), KeyError("x")):
        monkeypatch.setattr(Image, "open", lambda path, e=error: (_ for _ in ()).throw(e))
        for read in (image_size, load_image):
            with pytest.raises(LTX2Error, match=r"a.png is no picture that can be read \(.+\); save it again"):
                read(tmp_path / "a.png")


def test_faults_are_one_sentence(tmp_path):
    good = write_video(tmp_path / "good.mp4", torch.zeros(17, 48, 64, 3, dtype=torch.uint8), 25)
    whole = good.read_bytes()
    bad = {
        "empty.mp4": b"", "cut.mp4": whole[: len(whole) // 2], "text.mp4": b"hello\n" * 50, "video.png": whole, "empty.wav": b"", "noise.mp3": bytes(range(256)) * 9,
    }  # fmt: skip
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LTX2Error, match=name.replace(".", r"\.")) as raised:
            probe(tmp_path / name)
        assert "\n" not in str(raised.value) and str(tmp_path) not in str(raised.value)


def test_latin_tags_and_strange_names_are_read(tmp_path):
    name = "a clip's “quote” 🦊 %03d #1.mp4"
    path = write_video(tmp_path / name, torch.zeros(9, 48, 64, 3, dtype=torch.uint8), 25, metadata={"title": "XXXX"})
    content = path.read_bytes()
    assert b"XXXX" in content
    path.write_bytes(content.replace(b"XXXX", "Grüß".encode("latin-1")))
    assert probe(path).frames == 9 and decode_video(path, frame_rate=25, num_frames=9).shape[0] == 9


def test_flac_and_wav_are_lossless_and_other_endings_refused(tmp_path):
    wave = Waveform(torch.rand(2, 4800) * 2 - 1, 48000)
    for name in ("a.wav", "a.flac"):
        assert (decode_audio(write_audio(tmp_path / name, wave), rate=48000).samples - wave.samples).abs().max() < 1e-4
    with pytest.raises(LTX2Error, match="a.mp3 cannot be written"):
        write_audio(tmp_path / "a.mp3", wave)
