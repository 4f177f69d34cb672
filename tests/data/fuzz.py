"""Run as a process of its own: breaks media, caption and table files at random and reads the folder.

``python fuzz.py FOLDER COUNT SEED`` prints, as JSON, what became of every file. Whatever is not an LTX2Error ends it with
a traceback, a fault inside a codec with a signal, and a file that holds it up for longer than a minute too.
"""

import faulthandler

import json
import random
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ltx2core.data.read import read_pictures, read_sound
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.errors import LTX2Error
from ltx2core.media.audio import Waveform
from ltx2core.media.write import write_audio, write_video

LONGEST = 60.0  # seconds for one file, on a machine that has other work too


def originals(folder: Path) -> list[Path]:
    frames = torch.randint(0, 255, (20, 6, 8, 3), dtype=torch.uint8).repeat_interleave(8, 1).repeat_interleave(8, 2)
    sound = Waveform(torch.rand(2, 12800) - 0.5, 16000)
    folder.mkdir(parents=True)
    Image.fromarray(frames[0].numpy()).save(folder / "picture.png")
    Image.fromarray(frames[0].numpy()).save(folder / "picture.jpg")
    (folder / "caption.txt").write_text("A picture moves. Ein Bild läuft. " * 3, encoding="utf-8")
    (folder / "table.csv").write_text('file,caption\nclip,"one, two"\n', encoding="utf-8")
    (folder / "table.jsonl").write_text('{"file": "clip", "caption": ["one", "two"]}\n', encoding="utf-8")
    return [
        write_video(folder / "film.mp4", frames, 25, sound), write_audio(folder / "sound.wav", sound), write_audio(folder / "sound.flac", sound),
        folder / "picture.png", folder / "picture.jpg", folder / "caption.txt", folder / "table.csv", folder / "table.jsonl",
        muxed(folder / "film.mkv", "libx264", "aac"), muxed(folder / "film.avi", "mpeg4", "mp3"), muxed(folder / "film.ts", "libx264", "aac"),
        muxed(folder / "film.mpg", "mpeg2video", "mp2"), muxed(folder / "film.gif", "gif", None), muxed(folder / "sound.mp3", None, "mp3"),
        muxed(folder / "sound.opus", None, "libopus"), muxed(folder / "sound.m4a", None, "aac"), photograph(folder / "photo.jpg"), photograph(folder / "photo.webp"),
    ]  # fmt: skip


def muxed(path: Path, picture: str | None, sound: str | None) -> Path:
    """Twenty pictures and a tone in a container of another kind."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(picture, rate=25) if picture else None
        audio = container.add_stream(sound, rate=48000, layout="stereo") if sound else None
        if video:
            video.width, video.height, video.pix_fmt = 64, 48, "rgb8" if picture == "gif" else "yuv420p"
            for i in range(20):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 12 * i, np.uint8), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if audio:
            tone = av.AudioFrame.from_ndarray(np.sin(np.arange(38400) / 20).astype(np.float32)[None].repeat(2, 0), format="fltp", layout="stereo")
            tone.sample_rate, tone.pts, tone.time_base = 48000, 0, Fraction(1, 48000)
            fitting = av.AudioResampler(format=audio.format.name, layout="stereo", rate=48000, frame_size=audio.codec_context.frame_size or 1024)
            for part in [*fitting.resample(tone), *fitting.resample(None)]:
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))
    return path


def photograph(path: Path) -> Path:
    """A picture with a camera's tags."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    Image.fromarray(np.arange(64 * 48 * 3, dtype=np.uint8).reshape(48, 64, 3)).save(path, exif=exif)
    return path


def broken(content: bytes, draw: random.Random) -> bytes:
    data, kind = bytearray(content), draw.randrange(6)
    if kind == 0:
        return bytes(data[: draw.randrange(len(data))])
    if kind == 1:
        at = draw.randrange(len(data))
        return bytes(data[:at] + draw.randbytes(draw.randrange(1, 64)) + data[at:])
    if kind == 2:  # sizes and counts near the header
        at = draw.randrange(max(1, min(len(data) - 4, 2000)))
        data[at : at + 4] = draw.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", draw.randbytes(4)])
        return bytes(data)
    if kind == 3:
        at = draw.randrange(len(data))
        return bytes(data[:at] + data[at + draw.randrange(1, 200) :])
    for _ in range(draw.choice([1, 5, 50, 500])):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


def outcome(folder: Path, kind: str, strategy: str) -> dict[str, int]:
    counts = {"read": 0, "left out": 0}
    try:
        index = scan(DatasetSpec(str(folder), width=64, height=32, frames=17, dataset_type=kind, caption_strategy=strategy, min_frames=1, windows="all", split_scenes=True))
    except LTX2Error:
        return {"read": 0, "left out": 1}
    counts["left out"] += len(index.dropped)
    for clip in index.clips:
        try:
            read_pictures(clip)
            read_sound(clip, 16000)
            counts["read"] += 1
        except LTX2Error:
            counts["left out"] += 1
    return counts


def main(root: Path, count: int, seed: int) -> None:
    draw, sources = random.Random(seed), originals(root / "good")
    totals = {"read": 0, "left out": 0}
    for number in range(count):
        source = sources[number % len(sources)]
        folder = root / f"{number}"
        folder.mkdir()
        faulthandler.dump_traceback_later(LONGEST, exit=True)
        content = broken(source.read_bytes(), draw)
        print(f"{number} {source.name}", file=sys.stderr, flush=True)
        if source.suffix in (".txt", ".csv", ".jsonl"):
            (folder / "clip.png").write_bytes((root / "good" / "picture.png").read_bytes())
            name, strategy = ("clip.txt", "textfile") if source.suffix == ".txt" else (f"table{source.suffix}", source.suffix[1:])
            (folder / name).write_bytes(content)
            counts = outcome(folder, "auto", strategy)
        else:
            (folder / f"clip{source.suffix}").write_bytes(content)
            counts = outcome(folder, "audio" if source.stem == "sound" else "auto", "filename")
        totals = {key: totals[key] + counts[key] for key in totals}
    print(json.dumps(totals))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
