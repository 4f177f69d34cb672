"""Every fault that a folder can have, made; and a table of what a person sees of each.

``python tests/data/faults.py`` prints the table, made by scanning and reading each; ``--write docs/datasets.md`` puts it there.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from fault_while_cached import while_cached

from ltx2core.data.read import read_pictures, read_sound
from ltx2core.data.scan import DatasetIndex, scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.errors import LTX2Error

USED, LEFT_OUT, PASSED_OVER = "used", "left out", "passed over"
LINUX = sys.platform == "linux"


def film(path: Path, seconds=1.0, rate=25, size=(96, 64), codec="libx264", pix_fmt="yuv420p", times=None, turn=0, curve=None, sound=True, options=None, form=None) -> Path:
    """A film whose grey rises, with a tone. ``times``: of its frames, in thousandths of a second."""
    with av.open(str(path), "w", format=form, options={} if form else {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}) as container:
        video = container.add_stream(codec, rate=rate, options=options or ({"preset": "ultrafast"} if codec == "libx264" else {}))
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        if times:
            video.codec_context.time_base = Fraction(1, 1000)
        if turn:
            video.set_display_rotation(turn)
        if curve:
            video.codec_context.color_trc, video.codec_context.color_primaries, video.codec_context.colorspace = curve, 9, 9
        audio = container.add_stream("aac", rate=48000, layout="stereo") if sound else None
        for i in range(len(times) if times else round(seconds * rate)):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 20 + i * 5 % 200, np.uint8), format="rgb24")
            frame.pts, frame.time_base = (times[i], Fraction(1, 1000)) if times else (i, Fraction(1, rate))
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio:
            tone = np.sin(np.arange(round(seconds * 48000)) / 20).astype(np.float32)[None].repeat(2, 0)
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def _patched(path: Path, box: bytes, offset: int, value: bytes) -> None:
    """Overwrite bytes ``offset`` after the name of the first ``box``."""
    data = bytearray(path.read_bytes())
    at = data.index(box) + 4 + offset
    data[at : at + len(value)] = value
    path.write_bytes(data)


def _raw(path: Path) -> None:
    """An H.264 stream without a container, and so without times."""
    film(path, sound=False, form="h264", options={"bf": "0", "preset": "ultrafast"})


def _cut(path: Path, share: float) -> None:
    data = film(path, 3).read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def _no_index(path: Path) -> None:
    """What an interrupted recording leaves: the index, which is written last, is missing."""
    data = film(path).read_bytes()
    at = data.index(b"moov") - 4
    size = struct.unpack(">I", data[at : at + 4])[0]
    path.write_bytes(data[:at] + data[at + size :])


def _half_sound(path: Path) -> None:
    """A film of 2 s whose sound stops after half a second."""
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=48000, layout="mono")
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for i in range(50):
            frame = av.VideoFrame(96, 64, "yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 12000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def _endless(path: Path) -> None:
    """A Matroska header whose duration (element 0x4489, a float) is 1e15 ms."""
    film(path, sound=False)
    data = path.read_bytes()
    at = data.index(b"\x44\x89\x88") + 3
    path.write_bytes(data[:at] + struct.pack(">d", 1e15) + data[at + 8 :])


def _wav_bytes(path: Path) -> None:
    with av.open(str(path), "w", format="wav") as container:
        audio = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def _captioned(content: bytes | None) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        film(path)
        if content is not None:
            path.with_suffix(".txt").write_bytes(content)

    return make


def _caption_folder(path: Path) -> None:
    film(path)
    path.with_suffix(".txt").mkdir()


@dataclass(frozen=True)
class Fault:
    """what: in words. name: of the file. make: writes it. expected: what becomes of it. options: of the dataset.

    cached: seen while the folder is cached, during which it is written anew.
    """

    what: str
    name: str
    make: Callable[[Path], object]
    expected: str
    options: dict = field(default_factory=dict)
    linux: bool = False
    cached: bool = False


_TEXT = {"caption_strategy": "textfile"}
FAULTS = (
    Fault("recording without its index", "cut.mp4", _no_index, LEFT_OUT),
    Fault("download cut short, index in front", "half.mp4", lambda p: _cut(p, 0.5), LEFT_OUT, {"frames": 65}),
    Fault("zero bytes", "empty.mp4", lambda p: p.write_bytes(b""), LEFT_OUT),
    Fault("text with a film's ending", "text.mp4", lambda p: p.write_text("not a film", encoding="utf-8"), LEFT_OUT),
    Fault("film with a picture's ending", "film.png", lambda p: p.write_bytes(film(p.with_suffix(".mp4"), 1).rename(p).read_bytes()), LEFT_OUT),
    Fault("sound with a film's ending", "sound.mp4", _wav_bytes, LEFT_OUT),
    Fault("JPEG with the ending of PNG", "photo.png", lambda p: Image.new("RGB", (96, 64), (200, 30, 30)).save(p, "JPEG"), USED),
    Fault("header that says 60000 x 60000 pixels", "huge.mp4", lambda p: (film(p), _patched(p, b"avc1", 24, struct.pack(">HH", 60000, 60000))), USED),
    Fault("header that says 30,000 years", "long.mkv", _endless, USED, {"windows": "all"}),
    Fault("picture of a billion pixels", "bomb.png", lambda p: _bomb(p), LEFT_OUT),
    Fault("turned by the phone (rotation in the header)", "phone.mp4", lambda p: film(p, turn=90), USED),
    Fault("sides of odd numbers of pixels", "odd.mkv", lambda p: film(p, size=(101, 75), pix_fmt="yuv444p", sound=False), USED),
    Fault("10 bits", "deep.mp4", lambda p: film(p, pix_fmt="yuv420p10le"), USED),
    Fault("HDR (PQ)", "pq.mp4", lambda p: film(p, pix_fmt="yuv420p10le", curve=16), USED),
    Fault("HDR (HLG)", "hlg.mp4", lambda p: film(p, pix_fmt="yuv420p10le", curve=18), USED),
    Fault("transparency", "alpha.mov", lambda p: film(p, codec="qtrle", pix_fmt="argb", sound=False), USED),
    Fault("one frame", "one.mp4", lambda p: film(p, 1 / 25, sound=False), LEFT_OUT),
    Fault("variable frame rate", "variable.mkv", lambda p: film(p, times=[0, 20, 120, 130, 140, 400, 420, 500, 640, 700, 990, 1200], sound=False), USED),
    Fault("no time stamps", "raw.mp4", _raw, USED),
    Fault("no sound", "mute.mp4", lambda p: film(p, sound=False), USED),
    Fault("sound that stops after a quarter", "hush.mp4", _half_sound, USED),
    Fault("name with spaces", "a b  c.mp4", film, USED),
    Fault("name with quotes", "it's \"x\".mp4" if os.name == "posix" else "it's.mp4", film, USED),
    Fault("name with emoji", "🦊🟫.mp4", film, USED),
    Fault("name of 250 characters", "n" * 246 + ".mp4", film, USED),
    Fault("link to itself", "self.mp4", lambda p: p.symlink_to(p), LEFT_OUT, linux=True),
    Fault("link to a file that is gone", "gone.mp4", lambda p: p.symlink_to(p.with_name("nothing.mp4")), LEFT_OUT, linux=True),
    Fault("folder that links to itself", "loop", lambda p: p.symlink_to(p.parent, target_is_directory=True), PASSED_OVER, {"recursive": True}, linux=True),
    Fault("pipe with a film's name", "pipe.mp4", os.mkfifo if LINUX else film, LEFT_OUT, linux=True),
    Fault("file that gives read errors", "broken_disk.mp4", lambda p: p.symlink_to("/proc/self/mem"), LEFT_OUT, linux=True),
    Fault("name that is not UTF-8", os.fsdecode(b"latin\xe9.mp4") if LINUX else "x.mp4", lambda p: film(p.with_name("y.mp4")).rename(p), LEFT_OUT, linux=True),
    Fault("picture of a kind that is not read", "IMG_0001.HEIC", lambda p: p.write_bytes(b"\0\0\0\x18ftypheic"), LEFT_OUT),
    Fault("download that is still under way", "clip.mp4.part", lambda p: p.write_bytes(b"\0" * 100), LEFT_OUT),
    Fault("file that is written while it is cached", "growing.mp4", lambda p: film(p, 1.4), LEFT_OUT, cached=True),
    Fault("folder with a film's name", "folder.mp4", lambda p: p.mkdir(), PASSED_OVER),
    Fault("macOS's shadow file", "._clip.mp4", lambda p: p.write_bytes(b"resource fork"), PASSED_OVER),
    Fault("no caption file", "plain.mp4", _captioned(None), LEFT_OUT, _TEXT),
    Fault("empty caption file", "blank.mp4", _captioned(b" \n"), LEFT_OUT, _TEXT),
    Fault("caption in Latin-1", "latin.mp4", _captioned("läuft".encode("latin-1")), LEFT_OUT, _TEXT),
    Fault("caption in UTF-16 of a Windows editor", "wide.mp4", _captioned("A fox runs.".encode("utf-16")), USED, _TEXT),
    Fault("caption of 2 MB", "long_text.mp4", _captioned(b"word " * 400_000), LEFT_OUT, _TEXT),
    Fault("caption with control characters", "bell.mp4", _captioned(b"A \x07fox\x00 runs."), USED, _TEXT),
    Fault("folder with the caption's name", "nested.mp4", _caption_folder, LEFT_OUT, _TEXT),
)  # fmt: skip


def _bomb(path: Path) -> None:
    """A PNG whose header says 40000 x 40000; it has no such data."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))


@dataclass(frozen=True)
class Outcome:
    """what became of the file, the sentence that is shown, and how many clips of the folder were read in all."""

    became: str
    said: str
    index: DatasetIndex
    read: tuple[str, ...]


def run(fault: Fault, folder: Path) -> Outcome:
    """Make the fault beside a good clip, scan, and read every clip as caching does."""
    film(folder / "good.mp4")
    (folder / "good.txt").write_text("A good clip moves.", encoding="utf-8")
    fault.make(folder / fault.name)
    options = {"caption_strategy": "filename", "width": 96, "height": 64, "frames": 9, **fault.options}
    index = scan(DatasetSpec(str(folder), **options))
    if fault.cached:
        kept, said = while_cached(folder / fault.name, folder, index, lambda: film(folder / fault.name, 2))
        return Outcome(USED if fault.name in kept else LEFT_OUT, said, index, kept)
    reasons = {Path(d.path).name: d.reason for d in index.dropped}
    read, failed = set(), {}
    for clip in index.clips:
        try:
            read_pictures(clip)
            read_sound(clip, 16000)
            read.add(Path(clip.path).name)
        except LTX2Error as error:
            failed[Path(clip.path).name] = str(error)
    shown = fault.name.encode("utf-8", "replace").decode()
    named = [message for message in index.messages if shown in message]
    if shown in reasons:
        return Outcome(LEFT_OUT, named[0] if named else "", index, tuple(sorted(read)))
    if fault.name in failed and fault.name not in read:
        return Outcome(LEFT_OUT, failed[fault.name], index, tuple(sorted(read)))
    became = USED if fault.name in read else PASSED_OVER
    return Outcome(became, named[0] if named else "", index, tuple(sorted(read)))


_SILENT = {USED: "nothing; it is read as it should be", PASSED_OVER: "nothing; it is no clip", LEFT_OUT: ""}


def all_outcomes() -> dict[str, dict]:
    """Fault -> what became of it, what is said, and which files of its folder were read."""
    found = {}
    for fault in FAULTS:
        if fault.linux and not LINUX:
            continue
        print(fault.what, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            outcome = run(fault, Path(scratch))
            said = outcome.said.replace(scratch, "…").replace("n" * 246, "nnn…")
            read = [name.encode("utf-8", "replace").decode() for name in outcome.read]
            found[fault.what] = {"became": outcome.became, "said": said, "read": read, "samples": len(outcome.index.clips)}
    return found


def table(outcomes: dict[str, dict]) -> str:
    """Markdown: fault, what becomes of the clip, and what the person sees."""
    rows = [f"| {what} | {o['became']} | {o['said'].replace('|', chr(92) + '|') or _SILENT[o['became']]} |" for what, o in outcomes.items()]
    return "\n".join(["| fault | the clip is | what the person sees |", "|---|---|---|", *rows])


_BEGIN, _END = "<!-- faults: made by tests/data/faults.py -->", "<!-- end of faults -->"
_HEADING = """## Faults in a folder, and what you see

A folder is scanned as it is: every file that cannot be used is named once, with the reason and what to do, and the rest is trained.
Nothing is deleted or changed. Each row was made by building that file and scanning and reading the folder.
"""


def write_section(document: Path) -> None:
    """Put the table between its marks in ``document``, or at the end where there are none."""
    text = document.read_text(encoding="utf-8") if document.is_file() else "# Datasets\n"
    section = f"{_BEGIN}\n{table(all_outcomes())}\n{_END}"
    if _BEGIN in text:
        text = text[: text.index(_BEGIN)] + section + text[text.index(_END) + len(_END) :]
    else:
        text = f"{text.rstrip()}\n\n{_HEADING}\n{section}\n"
    document.write_text(text, encoding="utf-8")


if __name__ == "__main__" and "--write" in sys.argv:
    write_section(Path(sys.argv[-1]))
elif __name__ == "__main__":
    print(json.dumps(all_outcomes()) if "--json" in sys.argv else table(all_outcomes()))
