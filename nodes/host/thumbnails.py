"""Small pictures of a dataset's clips in the host's temp folder, from which its own /view route serves them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import folder_paths
from PIL import Image

from ...ltx2core.data.clip import Clip
from ...ltx2core.data.scan import DatasetIndex, Dropped
from ...ltx2core.errors import LTX2Error
from ...ltx2core.media.video import decode_video
from ..messages import in_languages

_SUBFOLDER = "ltx2_thumbnails"
_SIDE = 192
_MOST_CLIPS = 24
_MOST_DROPPED = 100
_MOST_LETTERS = 300


def _spread(clips: tuple[Clip, ...]) -> list[Clip]:
    """At most 24, evenly over the dataset."""
    every = max(1, -(-len(clips) // _MOST_CLIPS))
    return list(clips[::every])


def _name(clip: Clip) -> str:
    state = Path(clip.path).stat()
    facts = f"{clip.path}|{state.st_size}|{state.st_mtime_ns}|{clip.start}|{clip.bucket}|{clip.centre}"
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:24] + ".jpg"


def _picture(clip: Clip) -> dict[str, str]:
    """The first frame as it will be trained, as the host's own reference to a temp file."""
    folder = Path(folder_paths.get_temp_directory()) / _SUBFOLDER
    path = folder / _name(clip)
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        size = clip.bucket.width, clip.bucket.height
        frame = decode_video(clip.path, frame_rate=clip.frame_rate, num_frames=1, start=clip.start, size=size, centre=clip.centre)[0]
        image = Image.fromarray(frame.numpy())
        image.thumbnail((_SIDE, _SIDE))
        image.save(path, "JPEG", quality=80)
    return {"filename": path.name, "subfolder": _SUBFOLDER, "type": "temp"}


def _item(clip: Clip) -> dict:
    item = {"name": Path(clip.path).name, "caption": clip.caption[:_MOST_LETTERS], "bucket": str(clip.bucket), "seconds": clip.seconds, "sound": clip.has_audio}
    if not clip.has_video:
        return {**item, "image": None}
    try:
        return {**item, "image": _picture(clip)}
    except (LTX2Error, OSError) as error:
        # The clip was readable when it was scanned; training will say the same in full.
        return in_languages({**item, "image": None, "caption": str(error)[:_MOST_LETTERS]}, "caption")


def _dropped(dropped: Dropped) -> dict[str, object]:
    name = Path(dropped.path).name
    shown = in_languages({"name": name, "reason": dropped.reason[:_MOST_LETTERS]}, "reason")
    # A reader's own sentence names the file already; it is whole until it is translated.
    for words in (shown, *shown.get("said", {}).values()):
        words["reason"] = words["reason"].removeprefix(name).strip()
    return shown


def dataset_view(index: DatasetIndex) -> dict:
    """What js/strip.js shows: up to 24 clips with pictures, up to 100 left out, and how many there are of each."""
    return {
        "clips": [_item(clip) for clip in _spread(index.clips)],
        "count": len(index.clips),
        "sound": sum(c.has_audio for c in index.clips),
        "dropped": [_dropped(d) for d in index.dropped[:_MOST_DROPPED]],
        "dropped_count": len(index.dropped),
    }
