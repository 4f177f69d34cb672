"""Several datasets in one run: how often each one's clips are drawn."""

from collections import Counter
from dataclasses import replace

import pytest

from ltx2core.cache.dataset import CachedClip, DatasetCache
from ltx2core.cache.joined import joined, passes
from ltx2core.errors import LTX2Error
from ltx2core.train.sampler import BucketSampler


def cache_of(root, name, count, repeats=0):
    clips = tuple(CachedClip(f"{name}{i}", f"{name}{i}", "t", 96, 64, 9, 25.0, False, repeats) for i in range(count))
    return DatasetCache(root, "2.0", clips, "e")


def drawn(cache):
    """Share of each dataset among the samples of a whole epoch."""
    sampler, counts = BucketSampler(cache, 1, 0), Counter()
    while sampler.epoch == 0:
        for i in sampler.next():
            if sampler.epoch == 0:
                counts[cache.clips[i].source[0]] += 1
    return {name: n / sum(counts.values()) for name, n in counts.items()}


@pytest.mark.parametrize(
    ("sets", "shares", "wanted"),
    [
        ([("a", 10, 0), ("b", 30, 0)], None, {"a": 0.25, "b": 0.75}), ([("a", 10, 2), ("b", 30, 0)], None, {"a": 0.5, "b": 0.5}),
        ([("a", 10, 0), ("b", 30, 0)], (0.5, 0.5), {"a": 0.5, "b": 0.5}), ([("a", 10, 5), ("b", 30, 0)], (0.5, 0.5), {"a": 0.5, "b": 0.5}),
        ([("a", 7, 0), ("b", 40, 0), ("c", 3, 0)], (1.0, 0.25, 0.75), {"a": 0.5, "b": 0.125, "c": 0.375}),
    ],
)  # fmt: skip
def test_shares(sets, shares, wanted, tmp_path):
    whole = joined([cache_of(tmp_path, *one) for one in sets], shares)
    assert drawn(whole) == pytest.approx(wanted, rel=0.03)
    assert len(whole) == sum(count for _, count, _ in sets)


def test_a_mixture_is_mixed_again(tmp_path):
    """Repeats inside keep their relation: a comes twice as often as each clip of b, and both together half of the time."""
    inner = joined([cache_of(tmp_path, "a", 4, repeats=1), cache_of(tmp_path, "b", 4)])
    shares = drawn(joined([inner, cache_of(tmp_path, "c", 50)], (0.5, 0.5)))
    assert shares == pytest.approx({"a": 1 / 3, "b": 1 / 6, "c": 1 / 2}, rel=0.03)


def test_every_dataset_has_its_own_batches(tmp_path):
    """Stills come in fours, films alone; the run's size is that of sets without their own."""
    sets = [replace(cache_of(tmp_path, name, count), clips=tuple(replace(c, batch_size=size) for c in cache_of(tmp_path, name, count).clips))
            for name, count, size in (("a", 8, 4), ("b", 3, 1), ("c", 4, 0))]  # fmt: skip
    whole = joined(sets)
    sampler, batches = BucketSampler(whole, 2, 0), []
    while sampler.epoch == 0:
        batches.append([whole.clips[i].source for i in sampler.next()])
    batches.pop()  # the next epoch's first
    assert sorted(map(len, batches)) == [1, 1, 1, 2, 2, 4, 4]
    assert all(len({name[0] for name in batch}) == 1 for batch in batches)
    assert sorted(name for batch in batches for name in batch) == sorted(clip.source for clip in whole.clips)
    together = BucketSampler(whole, 5, 0, fill=False)
    assert [len(together.next()) for _ in range(3)].count(5) == 3, "a batch that all processes share has the run's size"
    assert whole.digest != joined([replace(s, clips=tuple(replace(c, batch_size=0) for c in s.clips)) for s in sets]).digest


def test_one_dataset_stays_as_it_is_and_faults_are_said(tmp_path):
    alone = cache_of(tmp_path, "a", 3)
    assert joined([alone]) is alone and joined([alone], (0.5,)) is alone
    both = [alone, cache_of(tmp_path, "b", 3)]
    for caches, shares, said in (
        ([alone, cache_of(tmp_path / "other", "b", 3)], None, "cache both in one folder"), ([alone, replace(both[1], empty_text="f")], None, "text encoders"),
        (both, (1.0, 0.0), "not above 0"), ([], None, "No dataset"),
    ):  # fmt: skip
        with pytest.raises(LTX2Error, match=said):
            joined(caches, shares)


def test_passes_are_the_fewest():
    assert passes((0.5, 0.5), (10, 10)) == (1, 1) and passes((0.5, 0.5), (10, 20)) == (2, 1)
