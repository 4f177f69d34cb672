"""A cache is made once, mended where it is damaged, and follows its sources."""

import json
import os
import shutil

import pytest
import torch

from benchmarks.compare import relative_error
from ltx2core.cache.build import build_cache
from ltx2core.cache.dataset import DatasetCache
from ltx2core.cache.store import DamagedEntry, Store
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.errors import LTX2Error
from ltx2core.geometry import audio_latent_length
from ltx2core.media.video import decode_video
from ltx2core.models.build import load_connectors, load_video_vae
from ltx2core.models.vae_memory import VaeMemory
from ltx2core.models.video import encode_video
from ltx2core.protocols import Interrupted
from ltx2core.text.encoder import load_text_encoder
from ltx2core.text.features import encode_prompts
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.train.settings import TimestepSettings
from ltx2core.train.timesteps import offset_of
from ltx2core.tiny_gemma import write_tiny_gemma


@pytest.fixture
def index(clips):
    return scan(DatasetSpec(str(clips), width=64, height=64, frames=17))


@pytest.fixture
def build(parts, tmp_path, services, recorder):
    def run(index, parts=parts, recorder=recorder, **settings):
        return build_cache(index, *parts, tmp_path / "cache", **services(recorder), **settings)

    return run


def test_samples_are_what_the_models_make_of_the_clips(build, index, parts):
    cache = build(index)
    assert len(cache) == 4 and cache.has_audio
    clip, sample = index.clips[1], cache[1]
    checkpoint, source = parts
    pixels = decode_video(clip.path, frame_rate=25, num_frames=17, size=(clip.bucket.width, clip.bucket.height))
    with torch.no_grad():
        expected = encode_video(load_video_vae(checkpoint, dtype=torch.float32), pixels.permute(3, 0, 1, 2)[None] / 127.5 - 1)[0]
        text = encode_prompts(load_text_encoder(source), load_connectors(checkpoint), [clip.caption])[0]
    torch.testing.assert_close(sample.video_latents, expected.bfloat16())
    torch.testing.assert_close(sample.text_video, text.video[0])
    torch.testing.assert_close(sample.text_audio, text.audio[0])
    assert sample.audio_latents.shape == (8, audio_latent_length(17, 25), 16)
    assert sample.video_latents.dtype == sample.text_video.dtype == torch.bfloat16
    assert cache[3].audio_latents is None
    assert [cache.caption(i) for i in range(4)] == [c.caption for c in index.clips]


def test_offsets_find_the_clips_of_a_dataset_and_of_a_folder(build, index, clips):
    cache = DatasetCache.load(build(index).save())
    names = {c.source for c in cache.clips}
    assert len(names) == 4
    for pattern in (index.spec.name, f"{clips.as_posix()}/*", f"{clips.name}/*", "*.mp4"):
        found = {c.source: offset_of(TimestepSettings(offsets=((pattern, -0.5),)), c.path, c.dataset) for c in cache.clips}
        assert found == dict.fromkeys(names, -0.5), pattern
    other = TimestepSettings(offsets=(("other/*", 1.0), (f"{clips.name}x", 2.0)))
    assert not any(offset_of(other, c.path, c.dataset) for c in cache.clips)


def test_second_run_encodes_nothing_and_a_changed_clip_itself_alone(build, index, clips, recorder):
    first = build(index)
    made = recorder.count("latents"), recorder.count("captions")
    assert made == (4, 5)
    again = build(scan(index.spec))
    assert (recorder.count("latents"), recorder.count("captions")) == made and again.digest == first.digest
    shutil.copyfile(clips / "clip_003.mp4", clips / "clip_000.mp4")
    changed = build(scan(index.spec))
    # The copy has the bytes of a clip that is cached already: nothing to encode, and two samples of it.
    assert recorder.count("latents") == made[0]
    assert changed.clips[0].latents == changed.clips[3].latents and len(changed) == 4
    (clips / "clip_001.txt").write_text("Another caption.", encoding="utf-8")
    build(scan(index.spec))
    assert (recorder.count("latents"), recorder.count("captions")) == (made[0], made[1] + 1)


def test_clips_of_one_bucket_are_encoded_together_with_the_numbers_of_each_alone(build, index, tmp_path, recorder):
    assert len({c.bucket for c in index.clips}) == 1
    together = build(index, vae=VaeMemory())
    whole = [together[i] for i in range(4)]
    assert any(text.startswith("Clips: 4 in") and "waiting for files" in text and "video VAE" in text for _, text in recorder.messages)
    shutil.rmtree(tmp_path / "cache")
    alone = build(index, vae=VaeMemory(batch_size=1))
    for i, sample in enumerate(whole):
        assert relative_error(alone[i].video_latents, sample.video_latents) <= 1e-3
        assert torch.equal(alone[i].text_video, sample.text_video)
    assert recorder.count("latents") == 8


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_entry_is_found_and_rebuilt_alone(build, index, tmp_path, recorder, damage):
    cache = build(index)
    path = Store(tmp_path / "cache").path("latents", cache.clips[2].latents)
    good = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]) if damage == "flip" else good[:-100])
        with pytest.raises(DamagedEntry, match="cache the dataset again"):
            cache[2]
    made = recorder.count("latents")
    build(index)
    assert recorder.count("latents") == made + 1
    cache[2]


def test_other_weights_or_settings_make_other_entries(build, index, parts, tmp_path):
    first = build(index)
    checkpoint, source = parts
    from ltx2core.checkpoint.combined import open_checkpoint
    from ltx2core.text.source import open_text_encoder

    other = open_checkpoint(write_tiny_checkpoint(tmp_path / "other.safetensors", seed=5))
    second = build(index, (other, source))
    third = build(index, (checkpoint, open_text_encoder(write_tiny_gemma(tmp_path / "other_gemma.safetensors", seed=5))))
    fourth = build(scan(DatasetSpec(index.spec.folder, width=64, height=64, frames=9)))
    for a, b, c, d in zip(first.clips, second.clips, third.clips, fourth.clips, strict=True):
        assert a.latents != b.latents and a.text != b.text
        assert a.latents == c.latents and a.text != c.text
        assert a.latents != d.latents and a.text == d.text


def test_stop_keeps_what_was_made(build, index, recorder):
    recorder.stop_after = ("latents", 2)
    with pytest.raises(Interrupted, match="2 of 4 clips"):
        build(index, vae=VaeMemory(batch_size=2))
    recorder.flag.stopped, recorder.stop_after = False, None
    build(index)
    assert recorder.count("latents") == 4


def test_a_clip_that_breaks_while_it_is_read_is_left_out_and_named(build, index, clips, recorder):
    data = (clips / "clip_002.mp4").read_bytes()
    (clips / "clip_002.mp4").write_bytes(data[: len(data) // 3])
    cache = build(index)
    assert [c.source for c in cache.clips] == ["clip_000.mp4", "clip_001.mp4", "clip_003.mp4"]
    assert any("clip_002.mp4" in text and level == "warning" for level, text in recorder.messages)


def test_wrong_text_encoder_is_refused_before_anything_is_encoded(build, index, parts, tmp_path, recorder):
    from ltx2core.text.source import open_text_encoder

    small = open_text_encoder(write_tiny_gemma(tmp_path / "small.safetensors", num_layers=2))
    with pytest.raises(LTX2Error, match="3 hidden states of width 64, but this checkpoint needs 4"):
        build(index, (parts[0], small))
    assert not recorder.events


def test_manifest_opens_the_set_again_elsewhere(build, index, tmp_path):
    cache = build(index)
    moved = tmp_path / "moved"
    os.rename(tmp_path / "cache", moved)
    manifest = next((moved / "manifests").glob("*.json"))
    opened = DatasetCache.load(manifest)
    assert opened.digest == cache.digest and opened.clips == cache.clips
    assert torch.equal(opened[0].video_latents, opened[0].video_latents) and opened.text(opened.empty_text)[0].shape == (1024, 64)
    # One of the first version holds the captions too.
    raw = json.loads(manifest.read_text(encoding="utf-8"))
    older = {**raw, "version": 1, "clips": [{**clip, "caption": "x"} for clip in raw["clips"]]}
    manifest.write_text(json.dumps(older), encoding="utf-8")
    assert DatasetCache.load(manifest).clips == cache.clips
    manifest.write_text(json.dumps({**raw, "version": 99}), encoding="utf-8")
    with pytest.raises(LTX2Error, match="newer version"):
        DatasetCache.load(manifest)
