"""Windows, crops, sound of other files and sound alone reach the cache as they were scanned."""

import pytest
import torch

from ltx2core.cache.build import build_cache
from ltx2core.cache.store import Store
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.media.audio import Waveform, decode_audio, fit_length
from ltx2core.media.write import write_audio


@pytest.fixture
def build(parts, tmp_path, services, recorder):
    def run(clips, **values):
        index = scan(DatasetSpec.from_dict({"folder": str(clips), "width": 96, "height": 64, "frames": 9, **values}))
        return build_cache(index, *parts, tmp_path / "cache", **services(recorder))

    return run


def test_every_way_of_reading_has_entries_of_its_own(build, clips, recorder):
    plain = build(clips, bucket_strategy="fixed")
    ways = [build(clips, bucket_strategy="fixed", **v) for v in ({"crop": "corner"}, {"windows": "last"}, {"allow_zero_audio": True})]
    keys = [{c.latents for c in cache.clips} for cache in (plain, *ways)]
    # A clip with sound, or cut nowhere, is the same sample in both ways.
    assert keys[0] != keys[1] and not keys[0] & keys[2] and len(keys[0] - keys[3]) == 1
    silent = next(i for i, c in enumerate(plain.clips) if not c.has_audio)
    assert plain[silent].audio_latents is None and ways[2][silent].audio_latents is not None
    made = recorder.count("latents")
    assert build(clips, bucket_strategy="fixed", crop="corner").clips == ways[0].clips and recorder.count("latents") == made


def test_sound_of_another_folder(build, clips, tmp_path):
    for path in clips.glob("*.mp4"):
        write_audio(tmp_path / "sounds" / f"{path.stem}.wav", Waveform(torch.rand(1, 32000) - 0.5, 16000))
    own, other = build(clips), build(clips, sound_folder=str(tmp_path / "sounds"))
    assert all(c.has_audio for c in other.clips) and not {c.latents for c in own.clips} & {c.latents for c in other.clips}
    before = {c.source: c.latents for c in other.clips}
    write_audio(tmp_path / "sounds" / f"{next(clips.glob('*.mp4')).stem}.wav", Waveform(torch.rand(1, 32000) - 0.5, 16000))
    after = {c.source: c.latents for c in build(clips, sound_folder=str(tmp_path / "sounds")).clips}
    assert sum(before[name] != after[name] for name in before) == 1


def test_the_sound_of_a_cached_clip_is_that_of_its_file(build, clips, tmp_path):
    """At its time in the file; none where the clip has none, or the file is gone or another."""
    for path in clips.glob("*.mp4"):
        write_audio(tmp_path / "sounds" / f"{path.stem}.wav", Waveform(torch.rand(1, 32000) - 0.5, 16000))
    own, other = build(clips, windows="last"), build(clips, windows="last", sound_folder=str(tmp_path / "sounds"))
    assert {own.sound(i) is None for i, c in enumerate(own.clips) if not c.has_audio} == {True}
    for cache, folder, ending in ((own, clips, ".mp4"), (other, tmp_path / "sounds", ".wav")):
        i = next(i for i, c in enumerate(cache.clips) if c.has_audio)
        start = Store(cache.root).info("latents", cache.clips[i].latents)["start"]
        path = (folder / cache.clips[i].source).with_suffix(ending)
        expected = decode_audio(path, rate=48000, start=start, duration=9 / 25)
        assert start > 0 and torch.equal(cache.sound(i).samples, fit_length(expected, 9 / 25).samples)
        path.write_bytes(path.read_bytes() + b"x")
        assert cache.sound(i) is None
        path.unlink()
        assert cache.sound(i) is None


def test_sound_alone(build, tmp_path):
    write_audio(tmp_path / "sounds" / "voice.wav", Waveform(torch.rand(1, 64000) - 0.5, 16000))
    cache = build(tmp_path / "sounds", dataset_type="audio", caption_strategy="filename")
    sample = cache[0]
    # 3 s of the 4 are 75 frames at 25 a second, cut to 73 = 8 * 9 + 1: ten latent frames, and round(73 / 25 * 25) of sound.
    assert sample.video_latents.shape == (128, 10, 1, 1) and not sample.video_latents.any()
    assert sample.audio_latents.shape == (8, 73, 16) and not cache.clips[0].has_video


def test_masks_lie_beside_the_latents(build, clips, tmp_path, recorder):
    """A mask's entry is its own: the clip is not encoded again when it changes, and looking after the cache knows it."""
    from PIL import Image

    from ltx2core.cache.upkeep import collect, verify

    where = tmp_path / "masks"
    where.mkdir()
    first, *others = sorted(clips.glob("*.mp4"))
    for path in (first, *others[1:]):
        Image.linear_gradient("L").resize((128, 96)).save(where / f"{path.stem}.png")  # from black above to white below
    plain, masked = build(clips), build(clips, mask_folder=str(where))
    made = recorder.count("latents")
    assert [c.latents for c in masked.clips] == [c.latents for c in plain.clips] and masked.digest != plain.digest
    assert {c.source for c in masked.clips if not c.mask} == {others[0].name} and others[0].name in " ".join(masked.messages)
    sample = next(masked[i] for i, c in enumerate(masked.clips) if c.source == first.name)
    assert sample.mask.shape == sample.video_latents.shape[1:] and 0.2 < sample.mask[0, 0, 0] < 0.3 and 0.7 < sample.mask[0, 1, 0] < 0.8
    assert all(plain[i].mask is None for i in range(len(plain)))
    binary = build(clips, mask_folder=str(where), mask_type="binary")
    assert next(binary[i] for i, c in enumerate(binary.clips) if c.source == first.name).mask.unique().tolist() == [0.0, 1.0]
    Image.new("L", (128, 96)).save(where / f"{first.stem}.png")
    black = build(clips, mask_folder=str(where))
    changed = {c.source for a, c in zip(masked.clips, black.clips, strict=True) if a.mask != c.mask}
    assert changed == {first.name} and recorder.count("latents") == made
    assert any(f"picture of {first.name} is not trained" in text for _, text in recorder.messages)
    assert not verify(tmp_path / "cache", recorder).lacking and not collect(tmp_path / "cache", 0).kinds.get("masks")
