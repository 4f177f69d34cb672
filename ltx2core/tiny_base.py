"""Tiny models that do something: a base that denoises drawn clips and a VAE whose decoder shows them, in seconds.

For tests and the demo, because real weights cannot be shipped. The files have the exact real layout.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from .cache.build import build_cache
from .cache.dataset import DatasetCache
from .checkpoint.combined import Checkpoint, open_checkpoint
from .data.scan import DatasetIndex, scan
from .data.spec import DatasetSpec
from .demo_clips import write_demo_clips
from .media.video import decode_video
from .models.build import load_transformer, load_video_vae
from .models.latents import pack_audio
from .protocols import Reporter
from .standalone import ConsoleReporter, PlainResidency, StopFlag
from .text.source import open_text_encoder
from .tiny import TinySize, save_combined, tiny_config, tiny_state
from .tiny_gemma import write_tiny_gemma
from .train.base import train_base
from .train.settings import TimestepSettings, TrainSettings

BASE_SEED = 1000  # of the clips that the base is made with; the demo's own clips have another
# One wide layer learns faster than two narrow ones.
_TINY = TinySize(layers=1, head_dim=48, audio_head_dim=40)
_SIZE = {"width": 128, "height": 96, "frames": 17}


def _services(reporter: Reporter) -> dict:
    return {"residency": PlainResidency(torch.device("cpu")), "reporter": reporter, "stop": StopFlag()}


def _statistics(cache: DatasetCache) -> dict[str, Tensor]:
    """Mean and deviation of every latent channel over the clips, under the file's names."""
    samples = [cache[i] for i in range(len(cache))]
    video = torch.cat([s.video_latents.float().flatten(1) for s in samples], dim=1)
    audio = torch.cat([pack_audio(s.audio_latents.float()[None])[0] for s in samples if s.audio_latents is not None])
    root = "per_channel_statistics"
    return {
        f"vae.{root}.mean-of-means": video.mean(1), f"vae.{root}.std-of-means": video.std(1),
        f"audio_vae.{root}.mean-of-means": audio.mean(0), f"audio_vae.{root}.std-of-means": audio.std(0),
    }  # fmt: skip


def _train_decoder(checkpoint: Checkpoint, cache: DatasetCache, index: DatasetIndex, steps: int) -> dict[str, Tensor]:
    """The decoder's weights, in the file's names, after ``steps`` steps of showing each clip its own latents."""
    vae = load_video_vae(checkpoint, dtype=torch.float32)
    clips = [decode_video(c.path, frame_rate=c.frame_rate, num_frames=9, size=(c.bucket.width, c.bucket.height)) for c in index.clips]
    targets = [c.permute(3, 0, 1, 2)[None].float() / 127.5 - 1 for c in clips]
    # Latent frames 0 and 1 are those of the first nine pictures: the encoder is causal.
    latents = [cache[i].video_latents[None, :, :2].float() for i in range(len(cache))]
    mean, std = (t.view(1, -1, 1, 1, 1) for t in (vae.latents_mean, vae.latents_std))
    vae.decoder.requires_grad_(True)
    adam = torch.optim.AdamW(vae.decoder.parameters(), lr=3e-3, weight_decay=0.0, betas=(0.9, 0.95))
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, 3e-3, total_steps=steps)
    for step in range(steps):
        i = step % len(latents)
        loss = nn.functional.mse_loss(vae.decode(latents[i] * std + mean, return_dict=False)[0], targets[i])
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.decoder.parameters(), 1.0)
        adam.step()
        rate.step()
    keymap = checkpoint.family.components["video_vae"]
    return {keymap.to_file(f"decoder.{k}"): v for k, v in vae.decoder.state_dict().items()}


def write_tiny_models(
    folder: Path, *, seed: int = 0, steps: int = 300, decoder_steps: int = 400, checkpoint_name: str = "tiny-ltx-2.safetensors",
    text_encoder_name: str = "tiny-gemma3.safetensors", reporter: Reporter | None = None,
) -> tuple[Path, Path]:  # fmt: skip
    """Write a combined checkpoint and a Gemma3 that fit each other; returns their paths.

    Args:
        steps: of training the transformer on clips that are not the demo's.
        decoder_steps: of training the video VAE's decoder; 0 leaves it random (pictures are then noise).
    """
    reporter = reporter or ConsoleReporter(quiet=True)
    folder.mkdir(parents=True, exist_ok=True)
    size, gemma = _TINY, write_tiny_gemma(folder / text_encoder_name, seed=seed)
    state, source = tiny_state(size, seed), open_text_encoder(gemma)
    # Residual branches that begin at zero: the VAE is then nearly linear, keeps what it sees, and its decoder learns fast.
    state |= {k: torch.zeros_like(v) for k, v in state.items() if k.startswith("vae.") and ".conv2." in k}
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode(False), torch.enable_grad():
        work = Path(scratch)
        write_demo_clips(work / "clips", seed=BASE_SEED, count=16, look="bright")
        index = scan(DatasetSpec(str(work / "clips"), **_SIZE))

        def cached(name: str) -> tuple[Checkpoint, DatasetCache]:
            checkpoint = open_checkpoint(save_combined(work / f"{name}.safetensors", state, tiny_config(size), torch.float32))
            return checkpoint, build_cache(index, checkpoint, source, work / "cache", **_services(reporter))

        state |= _statistics(cached("random")[1])
        checkpoint, cache = cached("normalised")
        model = load_transformer(checkpoint, dtype=torch.float32)
        train_base(model, cache, TrainSettings(steps=steps, batch_size=4, learning_rate=1e-2, timesteps=TimestepSettings("uniform")))
        keymap = checkpoint.family.components["transformer"]
        state |= {keymap.to_file(k): v for k, v in model.state_dict().items()}
        if decoder_steps:
            state |= _train_decoder(checkpoint, cache, index, decoder_steps)
    return save_combined(folder / checkpoint_name, state, tiny_config(size)), gemma
