"""What the model is given: shapes, sigmas, and randomness that depends on nothing but (seed, step, place)."""

from dataclasses import replace

import pytest
import torch

from ltx2core.cache.store import Store
from ltx2core.errors import LTX2Error
from ltx2core.models.latents import audio_coords, video_coords
from ltx2core.train.batch import draw, prepare
from ltx2core.train.data import RunData
from ltx2core.train.feed import Feed
from ltx2core.train.sampler import BucketSampler
from ltx2core.train.settings import TimestepSettings, TrainSettings

SETTINGS = TrainSettings()


def test_shapes_and_dtypes(make_sample):
    inputs = prepare([make_sample(1), make_sample(2, audio=False)], 0, SETTINGS, torch.bfloat16)
    shapes = {k: (tuple(t.shape), t.dtype) for k, t in inputs.tensors().items()}
    f32, b16 = torch.float32, torch.bfloat16
    length = round(17 / 25 * 25)
    assert shapes == {
        "video.tokens": ((2, 12, 128), b16), "video.target": ((2, 12, 128), f32), "video.mask": ((2, 12), f32), "video.sigma": ((2,), f32),
        "video.coords": ((2, 3, 12, 2), f32), "video.text": ((2, 8, 32), b16),
        "audio.tokens": ((2, length, 128), b16), "audio.target": ((2, length, 128), f32), "audio.mask": ((2, length), f32), "audio.sigma": ((2,), f32),
        "audio.coords": ((2, 1, length, 2), f32), "audio.text": ((2, 8, 32), b16),
    }  # fmt: skip
    assert torch.equal(inputs.video.coords, video_coords(2, 3, 2, 2, 25.0)) and torch.equal(inputs.audio.coords, audio_coords(2, length))
    assert inputs.audio.mask.tolist() == [[1.0] * length, [0.0] * length]


def test_noise_and_target_are_consistent(make_sample):
    """tokens + (1 - sigma) * velocity is the noise, and tokens - sigma * velocity the clean sample."""
    sample = make_sample(1)
    inputs = prepare([sample], 7, SETTINGS, torch.float32)
    for stream, x0 in ((inputs.video, sample.video_latents.float().flatten(1).T), (inputs.audio, sample.audio_latents.float().transpose(0, 1).flatten(1))):
        clean = stream.tokens[0] - stream.sigma[0] * stream.target[0]
        noise = stream.tokens[0] + (1 - stream.sigma[0]) * stream.target[0]
        assert torch.allclose(clean, x0, atol=1e-5) and abs(noise.std().item() - 1) < 0.1 and abs(noise.mean().item()) < 0.1


def test_draws_depend_on_seed_step_and_place_only(make_sample):
    a, b = make_sample(1), make_sample(2)
    base = prepare([a, b], 3, SETTINGS, torch.float32)
    torch.manual_seed(1234)
    assert all(torch.equal(x, y) for x, y in zip(base.tensors().values(), prepare([a, b], 3, SETTINGS, torch.float32).tensors().values(), strict=True))
    swapped = prepare([b, a], 3, SETTINGS, torch.float32)
    assert torch.equal(swapped.video.sigma, base.video.sigma)
    assert torch.allclose(swapped.video.target[0] + b.video_latents.float().flatten(1).T, base.video.target[0] + a.video_latents.float().flatten(1).T, atol=1e-5)
    for other in (prepare([a, b], 4, SETTINGS, torch.float32), prepare([a, b], 3, replace(SETTINGS, seed=1), torch.float32)):
        assert not torch.equal(other.video.sigma, base.video.sigma) and not torch.equal(other.video.target, base.video.target)
    assert base.video.sigma[0] != base.video.sigma[1]


def test_an_option_changes_no_other_draw(make_sample):
    sample = make_sample(1)
    plain = prepare([sample], 5, SETTINGS, torch.float32)
    first = prepare([sample], 5, replace(SETTINGS, first_frame_probability=1.0), torch.float32)
    assert torch.equal(plain.video.sigma, first.video.sigma) and torch.equal(plain.video.target, first.video.target)


def pairs(make_sample, settings, audio=True, count=200):
    sample = make_sample(1, frames=2, height=1, width=1, audio=audio)
    found = [prepare([sample], step, settings, torch.float32) for step in range(count)]
    return torch.tensor([[i.video.sigma.item(), i.audio.sigma.item()] for i in found])


def test_sound_has_its_own_sigma_unless_shared(make_sample):
    own = pairs(make_sample, TrainSettings(timesteps=TimestepSettings("uniform")))
    assert abs(torch.corrcoef(own.T)[0, 1]) < 0.25 and (own[:, 0] != own[:, 1]).all()
    for settings, audio in (
        (TrainSettings(timesteps=TimestepSettings("uniform", independent_audio=False)), True),
        (TrainSettings(audio_weight=0.0), True),
        (TrainSettings(), False),
    ):
        shared = pairs(make_sample, settings, audio, 20)
        assert torch.equal(shared[:, 0], shared[:, 1])


def test_caption_dropout(make_sample):
    sample, empty = make_sample(1), (torch.zeros(8, 32), torch.ones(8, 32))
    settings = TrainSettings(caption_dropout=0.5)
    found = [prepare([sample], s, settings, torch.float32, empty) for s in range(100)]
    dropped = [torch.equal(i.video.text[0], empty[0]) and torch.equal(i.audio.text[0], empty[1]) for i in found]
    kept = [torch.equal(i.video.text[0], sample.text_video.float()) for i in found]
    assert 25 <= sum(dropped) <= 75 and all(d != k for d, k in zip(dropped, kept, strict=True))
    with pytest.raises(LTX2Error, match="empty prompt"):
        prepare([sample], 0, settings, torch.float32)


def test_signature_tells_graphs_apart(make_sample):
    def signature(step, settings=SETTINGS, **options):
        return prepare([make_sample(step, **options)], step, settings, torch.float32).signature

    assert signature(0) == signature(1) and hash(signature(0)) == hash(signature(1))
    assert len({signature(0), signature(0, frames=2), signature(0, replace(SETTINGS, first_frame_probability=1.0))}) == 3


def test_clips_of_two_buckets_are_refused(make_sample):
    with pytest.raises(LTX2Error, match="video latents of 2 shapes"):
        prepare([make_sample(1), make_sample(2, width=3)], 0, SETTINGS, torch.float32)


def test_a_run_s_batches_have_their_clips_masks(make_cache, tmp_path):
    cache, mask = make_cache(tmp_path / "cache", ({}, {})), torch.linspace(0, 1, 12).view(3, 2, 2)
    Store(cache.root).write("masks", "m" * 64, {"mask": mask}, {})
    cache = replace(cache, clips=(replace(cache.clips[0], mask="m" * 64), cache.clips[1]))
    order = BucketSampler(cache, 1, SETTINGS.seed)
    with Feed(RunData(cache), BucketSampler(cache, 1, SETTINGS.seed), SETTINGS, torch.float32, 0, False) as feed:
        for _ in range(4):
            (index,), batch = order.next(), feed.next()
            assert torch.equal(batch.inputs.video.mask[0], torch.ones(12) if index else mask.flatten())


def test_a_run_s_batches_have_the_offset_of_their_clip_s_path(make_cache, tmp_path):
    """Fed as in a run: each clip's sigma is the one drawn with the offset that its path has."""
    settings = TrainSettings(timesteps=TimestepSettings(offsets=(("faces", -3.0), ("films/*", 3.0))))
    cache = make_cache(tmp_path / "cache", ({}, {}, {}))
    places = ({"dataset": "faces", "path": "/x/0.mp4"}, {"path": "/data/films/1.mp4"}, {"path": "/data/2.mp4"})
    cache = replace(cache, clips=tuple(replace(c, **p) for c, p in zip(cache.clips, places, strict=True)))
    sampler, order = BucketSampler(cache, 1, settings.seed), BucketSampler(cache, 1, settings.seed)
    with Feed(RunData(cache), sampler, settings, torch.float32, 0, False) as feed:
        for step in range(6):
            (index,), batch = order.next(), feed.next()
            expected = draw(cache[index], settings, step, 0, (-3.0, 3.0, 0.0)[index])
            assert torch.equal(batch.inputs.video.sigma, expected.video_sigma) and torch.equal(batch.inputs.audio.sigma, expected.audio_sigma)
