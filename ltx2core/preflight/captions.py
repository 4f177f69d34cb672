"""What the captions say, and what they leave out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ..data.scan import DatasetIndex
from .finding import INFO, WARNING, Finding, named, of
from .motion import is_judged, names_motion

_LONGEST = 1024  # tokens that Gemma reads; an English word is about 1.3 of them
_TOKENS_A_WORD = 1.3
_SHORTEST = 4  # words


def _captions(index: DatasetIndex) -> dict[str, set[str]]:
    """Caption -> the files that have it."""
    found: dict[str, set[str]] = defaultdict(set)
    for clip in index.clips:
        found[clip.caption].add(Path(clip.path).name)
    return found


def captions(index: DatasetIndex) -> Iterable[Finding]:
    if index.spec.caption_strategy == "instanceprompt":
        yield Finding(INFO, "captions", f"All samples of {index.spec.name} have the caption {next(iter(index.clips)).caption!r}.", "Describe each clip by itself if the LoRA shall follow prompts.")
        return
    found = _captions(index)
    same = {caption: files for caption, files in found.items() if len(files) > 1}
    if same:
        files = sorted(set().union(*same.values()))
        text = f"{of(len(files), 'clip')} of {index.spec.name} share a caption with another: {named(files)}; what differs between them cannot be asked for later."
        yield Finding(WARNING, "duplicate_captions", text, "Say in each caption what is different.", tuple(files))
    short = sorted(f for caption, files in found.items() if is_judged(caption) and len(caption.split()) < _SHORTEST for f in files)
    if short:
        text = f"{of(len(short), 'caption')} of {index.spec.name} have fewer than {_SHORTEST} words: {named(short)}."
        yield Finding(WARNING, "short_captions", text, "Describe subject, place, motion, camera and sound in a sentence or more.", tuple(short))
    long = sorted(f for caption, files in found.items() if len(caption.split()) * _TOKENS_A_WORD > _LONGEST for f in files)
    if long:
        text = f"{of(len(long), 'caption')} of {index.spec.name} are longer than the {_LONGEST} tokens that are read: {named(long)}."
        yield Finding(WARNING, "long_captions", text, "Shorten them; the end is cut off.", tuple(long))
    yield from _motion(index)


def _motion(index: DatasetIndex) -> Iterable[Finding]:
    moving = [c for c in index.clips if c.has_video and c.bucket.frames > 1]
    judged = {Path(c.path).name: names_motion(c.caption) for c in moving if is_judged(c.caption)}
    still = sorted(name for name, moves in judged.items() if not moves)
    if still:
        text = f"{of(len(still), 'caption')} of {len(judged)} in {index.spec.name} name no motion: {named(still)}; a LoRA learned from them tends to make still videos."
        yield Finding(WARNING, "motion", text, "Say what moves and how the camera moves: the camera pans right, slow zoom in, she runs.", tuple(still))
