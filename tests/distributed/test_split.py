"""Dealing out a global batch, what shares add up to, and epochs without repetition."""

import itertools

import pytest
import torch

from ltx2core.cache.dataset import CachedClip, DatasetCache
from ltx2core.distributed.split import passes, with_shares
from ltx2core.distributed.world import ALONE, agreed, share, told
from ltx2core.errors import LTX2Error
from ltx2core.train.batch import StepInputs, StreamInputs
from ltx2core.train.feed import Batch
from ltx2core.train.objective import masked_means
from ltx2core.train.sampler import BucketSampler
from ltx2core.train.settings import RunConfig, TrainSettings
from ltx2core.train.state import Facts


@pytest.mark.parametrize(("clips", "size", "processes"), list(itertools.product((1, 3, 4, 7, 16), (1, 2, 3), (1, 2, 4, 5))))
def test_every_clip_in_one_pass_of_one_process(clips, size, processes):
    dealt = [passes(clips, size, rank, processes) for rank in range(processes)]
    assert sorted(i for mine in dealt for slots in mine for i in slots) == list(range(clips))
    assert len({len(mine) for mine in dealt}) == 1
    assert all(len(slots) <= size for mine in dealt for slots in mine)
    counts = [sum(map(len, mine)) for mine in dealt]
    assert max(counts) - min(counts) <= 1


def cache(*sizes):
    """Clips of widths 64, 96, …: sizes[i] clips of the i-th bucket."""
    clips = [CachedClip(f"{b}-{i}", f"{b}{i}", "t", 64 + 32 * b, 64, 9, 25.0, False) for b, n in enumerate(sizes) for i in range(n)]
    return DatasetCache(None, "2.0", tuple(clips), "e")


def test_no_clip_twice_an_epoch_and_one_bucket_a_step():
    data = cache(5, 3, 8)
    sampler, seen = BucketSampler(data, 4, 7, fill=False), []
    for _ in range(3):
        drawn = []
        while len(drawn) < len(data):
            group = sampler.next()
            assert len({data.clips[i].bucket for i in group}) == 1 and len(group) <= 4
            drawn += group
        assert sorted(drawn) == list(range(16))
        seen.append(tuple(drawn))
    assert len(set(seen)) == 3


def batch(video_mask, audio_mask, real):
    def stream(mask):
        return StreamInputs(*(torch.zeros(len(mask), 4, 2) for _ in range(2)), torch.tensor(mask, dtype=torch.float32), *(torch.zeros(1),) * 3)

    inputs = StepInputs(stream(video_mask), stream(audio_mask))
    return Batch(inputs, {}, True, True, torch.zeros(len(video_mask), dtype=torch.bool), False, 0, tuple(range(len(video_mask))), 2, real)


class Peers:
    """A world whose other processes hold ``others``, batches counted by hand."""

    rank, size = 0, 2

    def __init__(self, *others):
        self.others = torch.tensor(others, dtype=torch.float64)

    def sum_(self, tensor):
        tensor += self.others


def test_shares_make_the_mean_over_the_global_batch():
    generator = torch.Generator().manual_seed(0)
    losses, masks = torch.rand(5, 4, 2, generator=generator), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.float32)
    whole = masked_means(losses, masks)[1]
    ours = [batch(masks[:2].tolist(), masks[:2].tolist(), 2), batch(masks[2:3].tolist(), masks[2:3].tolist(), 1)]
    # The other process has the last two clips, of which one counts.
    shared = with_shares(ours, Peers(1.0, 1.0, 2.0))
    parts = [masked_means(losses[:2], masks[:2])[1] * shared[0].inputs.shares[0], masked_means(losses[2:3], masks[2:3])[1] * shared[1].inputs.shares[0]]
    theirs = masked_means(losses[3:], masks[3:])[1] * 1 / 4
    assert torch.allclose(sum(parts) + theirs, whole)
    assert [s.inputs.shares.tolist() for s in shared] == [pytest.approx([0.5, 0.5, 0.4]), pytest.approx([0.25, 0.25, 0.2])]


def test_facts_forget_how_a_global_batch_is_dealt():
    def facts(**values):
        return Facts.of(RunConfig(train=TrainSettings(**values)), "data", "base").fingerprint

    assert facts(global_batch=4, batch_size=1) == facts(global_batch=4, batch_size=2)
    assert facts(global_batch=4) != facts(global_batch=8)
    assert facts(batch_size=1) != facts(batch_size=2)


def test_accumulation_beside_a_global_batch_is_refused():
    with pytest.raises(LTX2Error, match="leave accumulation at 1"):
        TrainSettings(global_batch=4, accumulation=2)


class Two:
    """The second of two processes, whose peer says ``told``."""

    rank, size = 1, 2

    def __init__(self, *answers):
        self.answers = list(answers)

    def gather(self, value):
        return [self.answers.pop(0), value]


def test_an_error_of_one_process_is_an_error_of_all():
    with pytest.raises(LTX2Error, match="The disk is full"), agreed(Two((False, "The disk is full."))):
        pass
    with pytest.raises(LTX2Error, match="own"), agreed(Two(None)):
        raise LTX2Error("own")


def test_told_and_share():
    assert told(Two(None, 42), lambda: pytest.fail("only the first process makes it")) == 42
    assert told(ALONE, lambda: 7) == 7
    assert share({"a": 1, "b": 2, "c": 3}, Two()) == {"b": 2}
    assert share({"a": 1}, ALONE) == {"a": 1}
