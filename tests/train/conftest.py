"""A tiny transformer, and cached datasets written straight into the store."""

import pytest
import torch

from ltx2core.cache.dataset import CachedClip, DatasetCache, Sample
from ltx2core.cache.store import Store
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.geometry import audio_latent_length, pixel_frames
from ltx2core.models.build import load_transformer
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.tiny import TinySize, write_tiny_checkpoint

TEXT_TOKENS, TEXT_WIDTH = 8, 32
SIZE = TinySize(layers=2, heads=2, head_dim=16, audio_head_dim=8, caption_channels=TEXT_WIDTH)


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny.safetensors", SIZE)


@pytest.fixture
def model(tiny_file):
    """A fresh tiny transformer in float32."""
    return load_transformer(open_checkpoint(tiny_file), dtype=torch.float32)


def low_rank(generator, channels, cells):
    """[channels, cells] of rank 3: something a small model can learn."""
    return torch.randn(channels, 3, generator=generator) @ torch.randn(3, cells, generator=generator) / 3**0.5


@pytest.fixture(scope="session")
def make_sample():
    """make_sample(seed, frames=3, height=2, width=2, audio=True) -> Sample, sizes in latent cells."""

    def make(seed, frames=3, height=2, width=2, audio=True, rate=25.0):
        generator = torch.Generator().manual_seed(seed)
        length = audio_latent_length(pixel_frames(frames), rate)
        video = low_rank(generator, 128, frames * height * width).view(128, frames, height, width)
        sound = low_rank(generator, 128, length).view(8, 16, length).transpose(1, 2)
        text = [torch.randn(TEXT_TOKENS, TEXT_WIDTH, generator=generator).bfloat16() for _ in range(2)]
        return Sample(f"{seed:064x}", video.bfloat16(), sound.bfloat16() if audio else None, *text, rate, "")

    return make


@pytest.fixture(scope="session")
def make_cache(make_sample):
    """make_cache(root, clips) -> DatasetCache; ``clips`` are keyword sets for make_sample, with ``repeats``."""

    def make(root, clips=({}, {}, {"audio": False}, {"frames": 2})):
        store, records = Store(root), []
        for seed, options in enumerate(clips):
            repeats = options.get("repeats", 0)
            sample = make_sample(seed, **{k: v for k, v in options.items() if k != "repeats"})
            tensors = {"video": sample.video_latents}
            if sample.audio_latents is not None:
                tensors["audio"] = sample.audio_latents
            store.write("latents", sample.key, tensors, {})
            store.write("text", sample.key, {"video": sample.text_video, "audio": sample.text_audio}, {})
            frames, height, width = sample.video_latents.shape[1:]
            records.append(CachedClip(f"{seed}.mp4", sample.key, sample.key, width * 32, height * 32, pixel_frames(frames),
                                      sample.frame_rate, sample.audio_latents is not None, repeats))  # fmt: skip
        store.write("text", "e" * 64, {k: torch.zeros(TEXT_TOKENS, TEXT_WIDTH).bfloat16() for k in ("video", "audio")}, {})
        return DatasetCache(root, "2.0", tuple(records), "e" * 64)

    return make


@pytest.fixture
def surroundings():
    """Residency, reporter and stop signal of a program without ComfyUI, on the CPU."""
    return {"residency": PlainResidency(torch.device("cpu")), "reporter": ConsoleReporter(quiet=True), "stop": StopFlag()}
