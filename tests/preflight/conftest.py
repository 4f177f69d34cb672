"""A tiny run whose parts the tests spoil one by one."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ltx2core.preflight.check import check_run
from ltx2core.preflight.space import Free
from ltx2core.runfile import read_run
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma

CAPTIONS = ("A red fox runs over snow.", "The camera pans right over a city.", "Waves roll onto a beach.", "A man jumps from a wall.", "Leaves fall in the wind.", "A car turns left.")


def write_film(path, seconds, rate=25, sound="stereo", size=(96, 64)):
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = container.add_stream("aac", rate=48000, layout=sound) if sound else None
        for i in range(round(seconds * rate)):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), (i * 3 + ord(path.stem[0]) * 7) % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, 1 / Fraction(rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio:
            samples = np.zeros((2 if sound == "stereo" else 1, round(seconds * 48000)), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=sound)
            frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))


@pytest.fixture
def film():
    return write_film


class TinyRun:
    def __init__(self, folder):
        self.folder, self.clips = folder, folder / "clips"
        self.values = {
            "checkpoint": "tiny.safetensors", "text_encoder": "gemma.safetensors", "output": "out",
            "dataset": {"folder": "clips", "width": 96, "height": 64, "frames": 9}, "train": {"steps": 20},
        }  # fmt: skip

    def write(self, **values):
        path = self.folder / "run.json"
        path.write_text(json.dumps({**self.values, **values}), encoding="utf-8")
        return path

    def dataset(self, **values):
        return {"dataset": {**self.values["dataset"], **values}}

    def check(self, free=Free(), **values):
        return check_run(read_run(self.write(**values)), free)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Six clips of 25 frames a second with sound, each with a caption of its own, and tiny models."""
    folder = tmp_path_factory.mktemp("preflight")
    write_tiny_checkpoint(folder / "tiny.safetensors")
    write_tiny_gemma(folder / "gemma.safetensors")
    (folder / "clips").mkdir()
    for i, caption in enumerate(CAPTIONS):
        write_film(folder / "clips" / f"{i}.mp4", 1)
        (folder / "clips" / f"{i}.txt").write_text(caption, encoding="utf-8")
    return folder


@pytest.fixture
def tiny_run(made, tmp_path):
    """A copy that a test may spoil."""
    return TinyRun(Path(shutil.copytree(made, tmp_path / "run")))
