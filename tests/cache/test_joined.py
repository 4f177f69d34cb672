"""Several datasets in one run: how often each one's clips are drawn."""

from collections import Counter

import pytest

from ltx2core.cache.dataset import CachedClip, DatasetCache
from ltx2core.cache.joined import joined, passes
from ltx2core.data.spec import DatasetSpec
from ltx2core.errors import LTX2Error
from ltx2core.train.sampler import BucketSampler


def cache_of(root, name, count, repeats=0):
    clips = tuple(CachedClip(f"{name}{i}", f"{name}{i}", "t", "A fox.", 96, 64, 9, 25.0, False, repeats) for i in range(count))
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
    ("sets", "shares"),
    [
        ([("a", 10, {}), ("b", 30, {})], {"a": 0.25, "b": 0.75}), ([("a", 10, {"repeats": 2}), ("b", 30, {})], {"a": 0.5, "b": 0.5}),
        ([("a", 10, {"probability": 0.5}), ("b", 30, {"probability": 0.5})], {"a": 0.5, "b": 0.5}),
        ([("a", 7, {"probability": 1.0}), ("b", 40, {"probability": 0.25}), ("c", 3, {"probability": 0.75})], {"a": 0.5, "b": 0.125, "c": 0.375}),
    ],
)  # fmt: skip
def test_shares(sets, shares, tmp_path):
    specs = [DatasetSpec(name, id=name, **values) for name, _, values in sets]
    whole = joined([cache_of(tmp_path, name, count, values.get("repeats", 0)) for name, count, values in sets], specs)
    assert drawn(whole) == pytest.approx(shares, rel=0.03)
    assert len(whole) == sum(count for _, count, _ in sets)


def test_one_dataset_stays_as_it_is_and_faults_are_said(tmp_path):
    alone = cache_of(tmp_path, "a", 3)
    assert joined([alone], [DatasetSpec("a")]) is alone
    both = [alone, cache_of(tmp_path, "b", 3)]
    with pytest.raises(LTX2Error, match="probability"):
        joined(both, [DatasetSpec("a", probability=0.5), DatasetSpec("b")])
    assert "batch_size" in joined(both, [DatasetSpec("a", batch_size=2), DatasetSpec("b")]).messages[-1]


def test_passes_are_the_fewest():
    assert passes((0.5, 0.5), (10, 10)) == (1, 1) and passes((0.5, 0.5), (10, 20)) == (2, 1)
