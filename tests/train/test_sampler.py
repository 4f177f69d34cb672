"""Epochs, buckets, repeats, and going on at the exact batch."""

from collections import Counter

import pytest

from ltx2core.cache.dataset import CachedClip, DatasetCache
from ltx2core.errors import LTX2Error
from ltx2core.train.sampler import BucketSampler


def records(tmp_path, sizes, repeats=()):
    clips = tuple(
        CachedClip(f"{i}.mp4", f"{i}", "t", size, 64, 9, 25.0, True, dict(repeats).get(i, 0)) for i, size in enumerate(sizes)
    )  # fmt: skip
    return DatasetCache(tmp_path, "2.0", clips, "e")


def test_an_epoch_shows_every_clip_repeats_plus_one_times(tmp_path):
    sampler = BucketSampler(records(tmp_path, [64] * 3 + [96] * 2, [(1, 2)]), 1, 0)
    seen = Counter(i for _ in range(7) for i in sampler.next())
    assert sampler.epoch == 0 and seen == {0: 1, 1: 3, 2: 1, 3: 1, 4: 1}
    sampler.next()
    assert sampler.epoch == 1


def test_batches_are_full_and_of_one_bucket(tmp_path):
    sizes = [64] * 5 + [96] * 1
    sampler = BucketSampler(records(tmp_path, sizes), 3, 0)
    batches = [sampler.next() for _ in range(3)]
    assert sampler.epoch == 0 and all(len(b) == 3 and len({sizes[i] for i in b}) == 1 for b in batches)
    assert {i for b in batches for i in b} == set(range(6))
    assert sorted(i for b in batches for i in b if sizes[i] == 96) == [5, 5, 5]


def test_orders_differ_by_epoch_and_seed_and_mix_buckets(tmp_path):
    cache = records(tmp_path, [64] * 8 + [96] * 8)
    sampler, other = BucketSampler(cache, 1, 0), BucketSampler(cache, 1, 1)
    first, second, third = [[s.next() for _ in range(16)] for s in (sampler, sampler, other)]
    assert len({tuple(first), tuple(second), tuple(third)}) == 3
    assert 2 < sum((a[0] < 8) != (b[0] < 8) for a, b in zip(first, first[1:], strict=False))


@pytest.mark.parametrize("done", [0, 3, 6, 7, 20])
def test_it_goes_on_at_the_exact_batch(tmp_path, done):
    cache = records(tmp_path, [64] * 5 + [96] * 3)
    whole, cut = BucketSampler(cache, 2, 9), BucketSampler(cache, 2, 9)
    for _ in range(done):
        whole.next()
        cut.next()
    later = BucketSampler(cache, 2, 9)
    later.load_state_dict(cut.state_dict())
    assert [later.next() for _ in range(12)] == [whole.next() for _ in range(12)]


def test_no_clips(tmp_path):
    with pytest.raises(LTX2Error, match="no clips"):
        BucketSampler(records(tmp_path, []), 1, 0)
