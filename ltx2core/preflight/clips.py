"""What the folders hold: sizes, lengths, sound, rates, and what is left out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data.buckets import plan
from ..data.scan import DatasetIndex
from ..data.spec import DatasetSpec
from ..media.probe import MediaInfo
from .finding import ERROR, INFO, WARNING, Finding, named, of

_SAME_RATE = 0.01  # share by which rates may differ and no frame is repeated or left out in a clip's length
# Reasons that name a setting behind their semicolon, not a change.
_LIMIT = re.compile(r"min_|max_")
# What helps against a reason; the first pattern that fits.
_ADVICE = (
    (re.compile(r"min_frames"), "Lower min_frames, or take longer clips."), (re.compile(r"max_frames"), "Raise max_frames, or set it to 0: of longer clips, windows says which part is taken."),
    (re.compile(r"min_seconds|max_seconds"), "Change the limit, or take other sounds."),
    (re.compile(r"no caption"), "Write a caption beside each clip, or choose caption_strategy filename."),
    (re.compile(r"min_side|aspect_ratio"), "Change the limit, or take other clips."),
    (re.compile(r"no sound|sound file"), "Add sound, or switch audio off."), (re.compile(r"cannot be read|no picture|can be decoded|known codec"), "Re-encode it, or take it out of the folder."),
)  # fmt: skip


@dataclass(frozen=True)
class Looked:
    """A scanned dataset and what its files hold."""

    index: DatasetIndex
    infos: Mapping[str, MediaInfo]


def _grouped(index: DatasetIndex) -> dict[str, list[str]]:
    """Reasons without numbers and names -> files."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for dropped in index.dropped:
        name = Path(dropped.path).name
        plain = re.sub(r"\d+(\.\d+)?(x\d+)?", "#", dropped.reason.replace(name, "").replace(Path(name).stem, "")).strip()
        groups[plain].append((name, dropped.reason.replace(name, "").strip()))
    return {f"{files[0][1].rstrip('.')}": [n for n, _ in files] for files in groups.values()}


def _advice(reason: str) -> tuple[str, str]:
    """The reason, and the one change that is suggested: what the settings allow, or what the reason says itself behind a semicolon."""
    fact, said, own = reason.rpartition("; ")
    if said and not _LIMIT.search(reason):
        return fact, f"{own[0].upper()}{own[1:]}."
    return reason, next((a for pattern, a in _ADVICE if pattern.search(reason)), "Mend it, or take it out of the folder.")


def dropped(index: DatasetIndex) -> Iterable[Finding]:
    """Clips that are left out, one finding for each kind of reason."""
    for reason, files in _grouped(index).items():
        reason, advice = _advice(reason)
        topic = "captions" if "caption" in reason else "dropped"
        example = f" ({files[0]}: {reason})" if len(files) > 1 else f" ({reason})"
        text = f"{of(len(files), 'file')} of {index.spec.name} {'is' if len(files) == 1 else 'are'} left out: {named(files)}{example}."
        yield Finding(WARNING, topic, text, advice, tuple(files))


def sizes(index: DatasetIndex, batch_size: int) -> Iterable[Finding]:
    """What was snapped, and which sizes and lengths are trained."""
    for message in plan(index.spec).messages:
        yield Finding(INFO, "snapped", message, "Nothing has to be changed; give the snapped value to silence this.")
    if index.spec.dataset_type == "audio":
        seconds = sum(c.seconds for c in index.clips)
        yield Finding(INFO, "sizes", f"{index.spec.name}: {of(len(index.clips), 'sound')}, {seconds:.0f} s in all.", "Change window_seconds or duration_interval for other lengths.")
        return
    buckets = Counter(str(c.bucket) for c in index.clips)
    listed = named(f"{count} x {bucket}" for bucket, count in buckets.most_common())
    yield Finding(INFO, "sizes", f"{index.spec.name}: {of(len(index.clips), 'sample')} after snapping, width x height @ frames: {listed}.", "Change width, height, frames or bucket_strategy for others.")
    small = [bucket for bucket, count in buckets.items() if count * (index.spec.repeats + 1) < batch_size]
    if small:
        text = f"{of(len(small), 'bucket')} of {index.spec.name} cannot fill a batch of {batch_size}: {named(small)}."
        other = "." if index.spec.bucket_strategy == "fixed" else ", or choose bucket_strategy fixed."
        yield Finding(WARNING, "sizes", text, f"Lower batch_size, add clips of these proportions{other}")


def scenes(spec: DatasetSpec) -> Iterable[Finding]:
    """Where films are cut is not looked for here."""
    if spec.split_scenes:
        text = f"{spec.name} is cut where the scene changes, which is looked for when it is cached: every film is decoded for it, and samples can be others than told here."
        yield Finding(INFO, "sizes", text, "Nothing has to be changed; caching tells the samples that there are.")


def masks(index: DatasetIndex) -> Iterable[Finding]:
    """Clips whose loss is not weighed although masks were asked for, and why."""
    spec = index.spec
    if not spec.mask_folder:
        return
    without = sorted({Path(c.path).name for c in index.clips if not c.mask})
    having = len({c.path for c in index.clips if c.mask})
    yield Finding(INFO, "masks", f"{of(having, 'clip')} of {spec.name} {'has a mask' if having == 1 else 'have masks'}.")
    if without:
        reasons = [m for m in index.messages if m.startswith("The mask ")][:1]
        text = f"{of(len(without), 'clip')} of {spec.name} {'is' if len(without) == 1 else 'are'} trained without a mask: {named(without)}."
        yield Finding(WARNING, "masks", " ".join([text, *reasons]), f"Put masks with the clips' names, proportions and lengths into {spec.mask_folder}.", tuple(without))


def partners(index: DatasetIndex) -> Iterable[Finding]:
    """What the folder of other sounds has no clip for, and which clips no sound."""
    for message in index.unpaired:
        yield Finding(WARNING, "sound", message, f"Give both files the same name, except for the ending, in {index.spec.name} and {index.spec.sound_folder}.")


def rates(looked: Looked) -> Iterable[Finding]:
    """Clips whose own rate is not the training rate: frames are repeated or left out, which can look jerky."""
    spec = looked.index.spec
    if spec.dataset_type == "audio":
        return
    videos = {c.path: looked.infos[c.path].frame_rate for c in looked.index.clips if c.path in looked.infos and looked.infos[c.path].duration > 0}
    other = {p: r for p, r in videos.items() if r > 0 and abs(r / spec.frame_rate - 1) > _SAME_RATE}
    if not other:
        return
    usual, count = Counter(round(r, 2) for r in videos.values()).most_common(1)[0]
    rated = ", ".join(f"{r:g}" for r in sorted({round(r, 2) for r in other.values()})[:6])
    text = (
        f"{of(len(other), 'clip')} of {len(videos)} in {spec.name} have {rated} frames a second and are trained at {spec.frame_rate:g}: "
        "motion keeps its speed, but frames are repeated or left out, which can look jerky."
    )
    advice = "Export the clips at the training rate, or take them out."
    if abs(usual / spec.frame_rate - 1) > _SAME_RATE and 2 * count > len(videos):
        advice = f"Set frame_rate to {usual:g}, which {count} of {len(videos)} clips have."
    yield Finding(WARNING, "frame_rate", text, advice, tuple(sorted(Path(p).name for p in other)))


def sound(looked: Looked, audio_weight: float, audio_only: bool) -> Iterable[Finding]:
    """How many clips have sound, and whether that fits what is trained."""
    index = looked.index
    clips, having = len(index.clips), sum(c.has_audio for c in index.clips)
    if audio_only and having < clips:
        silent = sorted({Path(c.path).name for c in index.clips if not c.has_audio})
        text = f"Sound alone is trained and {of(clips - having, 'sample')} of {index.spec.name} have none: {named(silent)}."
        yield Finding(ERROR, "sound", text, "Take them out, or switch audio_only off.", tuple(silent))
        return
    if index.spec.dataset_type == "image":
        return
    facts = Counter((i.audio_channels, i.audio_rate) for c in index.clips if c.has_audio and (i := looked.infos.get(c.sound or c.path)) is not None)
    kinds = "; ".join(f"{n} with {of(channels, 'channel')} at {rate / 1000:g} kHz" for (channels, rate), n in facts.most_common(4))
    advice = "Nothing has to be changed." if index.spec.dataset_type == "audio" else "Switch audio off to train the picture alone." if having else "Add clips with sound if it shall be learned."
    yield Finding(INFO, "sound", f"{having} of {of(clips, 'sample')} in {index.spec.name} have sound{f': {kinds}' if kinds else ''}.", advice)
    if having and audio_weight == 0:
        yield Finding(INFO, "sound", "audio_weight is 0, so the sound is not trained.", "Raise audio_weight to 1 to train it.")
    if 0 < having < clips and not audio_only and audio_weight:
        silent = sorted({Path(c.path).name for c in index.clips if not c.has_audio})
        text = f"{of(clips - having, 'sample')} without sound are trained as picture only, never as silence."
        yield Finding(INFO, "sound", text, "Set allow_zero_audio if silence is meant.", tuple(silent))
    muffled = sorted({Path(c.path).name for c in index.clips if c.has_audio and (i := looked.infos.get(c.sound or c.path)) is not None and 0 < i.audio_rate < 16000})
    if muffled:
        text = f"{of(len(muffled), 'file')} have sound below 16 kHz, which stays muffled: {named(muffled)}."
        yield Finding(WARNING, "sound", text, "Take better recordings, or switch audio off for them.", tuple(muffled))
