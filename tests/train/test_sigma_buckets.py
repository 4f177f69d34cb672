"""Losses by noise level against a mean written out."""

import json
import math

import pytest
import torch

from ltx2core.train.batch import draw
from ltx2core.train.loop import train
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.sigma_buckets import BucketSums, bucket_of


def test_means_by_bucket():
    sums = BucketSums(torch.device("cpu"))
    rows = [(0.1, 2.0, 1), (0.2, 4.0, 1), (0.25, 5.0, 1), (0.9, 7.0, 1), (1.0, 9.0, 1), (0.8, 100.0, 0)]
    for sigma, loss, weight in rows:
        sums.add(torch.tensor([loss]), torch.tensor([sigma]), torch.full((1, 3), float(weight)))
    means = sums.means().tolist()
    assert means[0] == 3 and means[1] == 5 and math.isnan(means[2]) and means[3] == 8
    assert bucket_of(torch.tensor([0.0, 0.5, 0.7499, 0.75])).tolist() == [0, 2, 2, 3]


def test_a_run_writes_them_and_they_sum_to_its_losses(model, make_cache, tmp_path, surroundings):
    """Means times how many samples the draws put into each bucket, over all samples, are the step's loss."""
    settings, cache = TrainSettings(steps=3, warmup=0, dtype="float32", batch_size=1, accumulation=4, validation_clips=0), make_cache(tmp_path / "cache", ({},))
    result = train(RunConfig(LoRASettings(rank=2), settings), model, cache, directory=tmp_path / "run", **surroundings)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for record, line in zip(result.history.steps, lines, strict=True):
        for name in ("video", "audio"):
            sigmas = [getattr(draw(cache[0], settings, 4 * (record.step - 1) + i, 0), f"{name}_sigma").item() for i in range(4)]
            counts = [sum(b / 4 <= s < (b + 1) / 4 + (b == 3) for s in sigmas) for b in range(4)]
            means = line[f"{name}_by_sigma"]
            assert [m is not None for m in means] == [n > 0 for n in counts]
            assert sum(m * n for m, n in zip(means, counts, strict=True) if n) / 4 == pytest.approx(getattr(record, name), rel=1e-5)
        assert list(record.video_by_sigma) == line["video_by_sigma"]
