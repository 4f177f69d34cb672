"""A film whose picture and sound tell the time, made by the tests themselves."""

from fractions import Fraction

import av
import numpy as np
import pytest


def write_film(path, seconds, rate=25, sound="stereo", size=(96, 64), beep_every=1.0, scene=None, levels=None):
    """Grey level 20 + 35 * seconds (at most 6.5 s), a beep of 20 ms at every whole ``beep_every``; ``scene``: seconds a shot, patterns differ."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options={"crf": "2", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = container.add_stream("aac", rate=48000, layout=sound) if sound else None
        for i in range(round(seconds * rate)):
            time = float(i / rate)
            picture = np.full((size[1], size[0], 3), round(20 + 35 * time), np.uint8)
            if scene:
                shot = int(time / scene + 1e-9)
                picture = np.random.default_rng(shot).integers(0, 255, (4, 6, 3)).astype(np.uint8).repeat(size[1] // 4, 0).repeat(size[0] // 6, 1)
                picture = np.roll(picture, i * 2, 1)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = i, 1 / Fraction(rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio:
            samples = np.zeros(round(seconds * 48000), np.float32)
            for begin in np.arange(0, seconds - 0.02, beep_every):
                at = round(begin * 48000)
                samples[at : at + 960] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(960) / 48000)
            frame = av.AudioFrame.from_ndarray(np.tile(samples, (2 if sound == "stereo" else 1, 1)), format="fltp", layout=sound)
            frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    path.with_suffix(".txt").write_text(f"A film of {seconds} seconds.", encoding="utf-8")
    return path


@pytest.fixture
def film():
    return write_film
