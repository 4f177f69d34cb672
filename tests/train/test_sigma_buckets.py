"""Losses by noise level against a mean written out."""

import json
import math

import pytest
import torch

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
    settings = TrainSettings(steps=3, warmup=0, dtype="float32", batch_size=1, accumulation=4, validation_clips=0)
    result = train(RunConfig(LoRASettings(rank=2), settings), model, make_cache(tmp_path / "cache", ({},)), directory=tmp_path / "run", **surroundings)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for record, line in zip(result.history.steps, lines, strict=True):
        for name in ("video", "audio"):
            means = [m for m in line[f"{name}_by_sigma"] if m is not None]
            whole = getattr(record, name)
            assert means and min(means) <= whole + 1e-6 and max(means) >= whole - 1e-6
            if len(means) == 1:
                assert means[0] == pytest.approx(whole, rel=1e-5)
        assert list(record.video_by_sigma) == line["video_by_sigma"]
