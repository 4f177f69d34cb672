"""A base that denoises, and a LoRA that learns what is new in other clips."""

from dataclasses import replace

import pytest
import torch

from ltx2core.cache.dataset import CachedClip, DatasetCache
from ltx2core.cache.store import Store
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.geometry import audio_latent_length
from ltx2core.models.build import load_transformer
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.tiny import TinySize, write_tiny_checkpoint
from ltx2core.train.base import train_base
from ltx2core.train.loop import train
from ltx2core.train.settings import LoRASettings, RunConfig, TimestepSettings, TrainSettings

CELLS, RATE, RANK, SHARED = (2, 3, 3), 25.0, 8, 6
LENGTH = audio_latent_length(9, RATE)


def directions(seed):
    """For picture and sound, RANK orthogonal directions among 128 channels, scaled so that clips have unit variance."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.linalg.qr(torch.randn(128, RANK, generator=generator))[0] * (128 / RANK) ** 0.5 for _ in range(2)]


def clips(root, spaces, seeds):
    """Clips whose latents vary freely in ``spaces`` and not at all outside them."""
    store, records = Store(root), []
    for seed in seeds:
        key, generator = f"{seed:064x}", torch.Generator().manual_seed(seed)
        video = (spaces[0] @ torch.randn(RANK, 18, generator=generator)).view(128, *CELLS)
        audio = (spaces[1] @ torch.randn(RANK, LENGTH, generator=generator)).view(8, 16, LENGTH).transpose(1, 2)
        store.write("latents", key, {"video": video.bfloat16(), "audio": audio.bfloat16()}, {})
        store.write("text", key, {k: torch.ones(4, 32).bfloat16() for k in ("video", "audio")}, {})
        records.append(CachedClip(f"{seed}.mp4", key, key, 96, 96, 9, RATE, True))
    return DatasetCache(root, "2.0", tuple(records), "e" * 64)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model, trained whole for some seconds on clips of one space."""
    folder = tmp_path_factory.mktemp("base")
    size = TinySize(layers=1, heads=4, head_dim=48, audio_head_dim=40, caption_channels=32)
    model = load_transformer(open_checkpoint(write_tiny_checkpoint(folder / "tiny.safetensors", size)), dtype=torch.float32)
    settings = TrainSettings(steps=200, batch_size=8, learning_rate=1e-2, timesteps=TimestepSettings("uniform"))
    losses = train_base(model, clips(folder, directions(1), range(32)), settings)
    assert sum(losses[-20:]) < 0.3 * sum(losses[:20])
    return model


# What learns nothing needs no steps for it.
@pytest.mark.parametrize("steps, rate, learns", [(200, 5e-3, True), (10, 0.0, False)])
def test_200_steps_halve_the_validation_loss_of_the_zero_prediction(steps, rate, learns, base, tmp_path):
    spaces = [torch.cat((old[:, :SHARED], new[:, SHARED:]), 1) for old, new in zip(directions(1), directions(2), strict=True)]
    settings = TrainSettings(steps=steps, warmup=10, batch_size=4, dtype="float32", gradient_checkpointing=False, timesteps=TimestepSettings("uniform"))
    run = RunConfig(LoRASettings(targets="all_linear"), replace(settings, learning_rate=rate, validate_every=0))
    result = train(
        run, base, clips(tmp_path, spaces, range(100, 124)), directory=tmp_path / "run", validation=clips(tmp_path, spaces, range(200, 204)),
        residency=PlainResidency(torch.device("cpu")), reporter=ConsoleReporter(quiet=True), stop=StopFlag(),
    )  # fmt: skip
    before, after = result.validation
    halved = after.video <= after.zero_video / 2 and after.audio <= after.zero_audio / 2
    better = after.video < 0.8 * before.video and after.audio < 0.8 * before.audio
    assert (halved and better) == learns, (before, after)
