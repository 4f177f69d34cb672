"""HDR: lights of known nits come out as a plain screen shows them; alpha comes out over black; 10 bits lose nothing that 8 can hold."""

from fractions import Fraction

import av
import numpy as np
import pytest

from ltx2core.media.hdr import HLG, KNEE, PEAK, PQ, WHITE, moebius, tone_mapped
from ltx2core.media.video import decode_video


def pq_signal(nits):
    """ST 2084's inverse, by its printed constants."""
    y = (np.asarray(nits, np.float64) / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def hlg_signal(nits):
    """BT.2100's inverse for neutral light on a screen of 1000 nits, gamma 1.2."""
    scene = (np.asarray(nits, np.float64) / 1000) ** (1 / 1.2)
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073)


def code(signal):
    return np.broadcast_to(np.round(np.asarray(signal) * 65535).astype(np.uint16)[..., None], (*np.shape(signal), 3)).reshape(1, -1, 3)


@pytest.mark.parametrize(("curve", "signal"), [(PQ, pq_signal), (HLG, hlg_signal)])
def test_lights_below_the_knee_are_shown_as_they_are(curve, signal):
    """n nits of a screen whose white is 203: (n / 203) ** (1 / 2.4)."""
    nits = np.array([1, 5, 20, 50, 80, WHITE * KNEE])
    shown = tone_mapped(code(signal(nits)), curve)
    assert np.abs(shown[0, :, 0] - 255 * (nits / WHITE) ** (1 / 2.4)).max() <= 1
    assert np.ptp(shown.astype(int), axis=-1).max() <= 1, "grey stays grey"


def test_bright_lights_stay_apart_up_to_the_peak():
    nits = np.array([100, 150, 203, 300, 450, 700, PEAK])
    shown = tone_mapped(code(pq_signal(nits)), PQ)[0, :, 0].astype(int)
    assert (np.diff(shown) > 0).all() and shown[-1] == 255
    assert (tone_mapped(code(pq_signal([2000, 10000])), PQ) == 255).all()


def test_the_curve_is_smooth_at_the_knee_and_ends_at_one():
    step = 1e-4
    slope = (moebius(np.array(KNEE + step)) - moebius(np.array(KNEE))) / step
    assert abs(slope - 1) < 1e-3 and abs(moebius(np.array(PEAK / WHITE)) - 1) < 1e-6 and moebius(np.array(0.2)) == 0.2


def test_colours_of_the_smaller_gamut_come_out_as_themselves():
    """BT.709's red at 60 nits, written with the matrix of BT.2087 (709 to 2020), is pure red again."""
    red = 60 * np.array([0.6274, 0.0691, 0.0164])
    shown = tone_mapped(np.round(pq_signal(red) * 65535).astype(np.uint16).reshape(1, 1, 3), PQ)[0, 0]
    assert abs(int(shown[0]) - 255 * (60 / WHITE) ** (1 / 2.4)) < 2 and shown[1] < 12 and shown[2] < 12


@pytest.mark.parametrize(("curve", "signal"), [(PQ, pq_signal), (HLG, hlg_signal)])
@pytest.mark.parametrize("named", [True, False])
def test_a_film_in_ten_bits(tmp_path, curve, signal, named):
    """100 nits, whether the file names the matrix of BT.2020 or only the curve."""
    grey = np.full((64, 64, 3), round(float(signal(100.0)) * 65535), np.uint16)
    with av.open(str(tmp_path / "hdr.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.color_range = curve, 1
        if named:
            stream.codec_context.color_primaries, stream.codec_context.colorspace = 9, 9
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(grey, format="rgb48le").reformat(format="yuv420p10le", dst_colorspace=9)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    shown = decode_video(tmp_path / "hdr.mp4", frame_rate=25, num_frames=5).float()
    assert (shown - 255 * (100 / WHITE) ** (1 / 2.4)).abs().max() <= 3


def test_transparent_places_of_a_film_show_black(tmp_path):
    """White everywhere; left opaque, the middle half seen, right transparent."""
    picture = np.full((32, 96, 4), 255, np.uint8)
    picture[:, 32:64, 3], picture[:, 64:, 3] = 128, 0
    with av.open(str(tmp_path / "alpha.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 32, "argb"
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format="argb")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    shown = decode_video(tmp_path / "alpha.mov", frame_rate=25, num_frames=3)[0, 16].float().mean(-1)
    assert shown[16] == 255 and abs(shown[48] - 128) < 2 and shown[80] == 0


def test_ten_bits_of_a_plain_film_keep_their_greys(tmp_path):
    """A ramp of all 220 greys of limited range comes out within one level."""
    ramp = np.broadcast_to(np.linspace(0, 65535, 256).astype(np.uint16)[None, :, None], (64, 256, 3)).copy()
    with av.open(str(tmp_path / "deep.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 256, 64, "yuv420p10le"
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(ramp, format="rgb48le").reformat(format="yuv420p10le")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    shown = decode_video(tmp_path / "deep.mp4", frame_rate=25, num_frames=1)[0, 32, :, 0].numpy().astype(int)
    assert np.abs(shown - np.arange(256)).max() <= 2
