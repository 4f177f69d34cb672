"""CREPA's teacher: DINOv2 features of every clip, made once from its cached latents and kept beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..cache.dataset import CachedClip, DatasetCache
from ..cache.keys import content_key
from ..cache.store import Store
from ..distributed.world import ALONE, World, share, told
from ..errors import LTX2Error
from ..geometry import latent_frames
from ..hub import find_model, is_hub_name
from ..models.vae_memory import usual_memory
from ..models.video import decode_video_latents, decode_working_bytes
from ..protocols import Interrupted, Progress, Reporter, Residency, StopSignal
from .crepa import CrepaSettings

# ImageNet's mean and spread, which DINOv2 was trained with.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def teacher_folder(settings: CrepaSettings, reporter: Reporter | None = None, stop: StopSignal | None = None) -> Path:
    """Of the encoder: a folder, or that of owner/name in the hub's cache, which it is downloaded into where that is allowed.

    Raises:
        LTX2Error: neither; says what to do. Interrupted: asked to stop in a download.
    """
    folder = Path(settings.encoder).expanduser()
    if folder.is_dir() or not is_hub_name(settings.encoder):
        return folder
    return find_model(settings.encoder, allow_download=settings.allow_download, reporter=reporter, stop=stop)


def load_teacher(folder: Path) -> nn.Module:
    """A frozen DINOv2 in float32.

    Raises:
        LTX2Error: no such folder, or no DINOv2 in .safetensors in it. Nothing is downloaded.
    """
    from transformers import AutoConfig, AutoModel

    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise LTX2Error(f"No DINOv2 at {folder}; put its config.json and .safetensors there and give the folder as crepa.encoder.")
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type not in ("dinov2", "dinov2_with_registers"):
        raise LTX2Error(f"The model at {folder} is {config.model_type}; CREPA needs a DINOv2, such as facebook/dinov2-giant.")
    return AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32).requires_grad_(False).eval()


def shown_frames(latent_frames: int) -> list[int]:
    """The pixel frame that stands for each latent one: the first, then the middle of each eight."""
    return [0] + [8 * f - 4 for f in range(1, latent_frames)]


@torch.no_grad()
def picture_features(teacher: nn.Module, pixels: Tensor, image_size: int, frames_batch: int = 0) -> Tensor:
    """[T, h, w, E] float32 of pixels [T, 3, H, W] in [-1, 1], each stretched to a square of ``image_size``, cut to whole patches."""
    patch = teacher.config.patch_size
    cells = max(1, image_size // patch)
    side = cells * patch
    mean, std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (_MEAN, _STD))
    found = []
    for part in pixels.split(frames_batch or len(pixels)):
        fitted = interpolate(part.float(), (side, side), mode="bicubic", antialias=True).clamp(-1, 1)
        hidden = teacher(pixel_values=((fitted + 1) / 2 - mean) / std).last_hidden_state
        found.append(hidden[:, -cells * cells :].unflatten(1, (cells, cells)))
    return torch.cat(found)


def to_grid(features: Tensor, height: int, width: int) -> Tensor:
    """[T, h, w, E] -> [T, height * width, E]: both grids cover the whole picture, so each axis is resized by itself."""
    resized = interpolate(features.permute(0, 3, 1, 2).float(), (height, width), mode="bilinear", antialias=True, align_corners=False)
    return resized.flatten(2).transpose(1, 2)


@contextmanager
def _without_encoder(vae: nn.Module, drop: bool) -> Iterator[None]:
    encoder = vae._modules["encoder"]
    if drop:
        vae._modules["encoder"] = None
    try:
        yield
    finally:
        vae._modules["encoder"] = encoder


@dataclass(frozen=True)
class TeacherFeatures:
    """Features in the cache ``root``, of the teacher in ``settings.encoder``."""

    root: Path
    settings: CrepaSettings

    @cached_property
    def _teacher(self) -> str:
        digest = hashlib.sha256()
        for path in sorted(p for p in teacher_folder(self.settings).iterdir() if p.suffix in (".json", ".safetensors")):
            with path.open("rb") as file:
                digest.update(f"{path.name} {path.stat().st_size}".encode() + file.read(1 << 20))
        return digest.hexdigest()

    def key(self, clip: CachedClip) -> str:
        return content_key(kind="crepa", latents=clip.latents, teacher=self._teacher, image_size=self.settings.image_size)

    def read(self, clip: CachedClip) -> Tensor:
        """[F', H'*W', E] bfloat16; E is 0 where the model's own hidden states teach."""
        if self.settings.own_features:
            return torch.empty(latent_frames(clip.frames), clip.height // 32 * (clip.width // 32), 0, dtype=torch.bfloat16)
        return Store(self.root).read("crepa", self.key(clip))[0]["features"]

    def build(self, cache: DatasetCache, vae: nn.Module, residency: Residency, reporter: Reporter, stop: StopSignal, world: World = ALONE) -> None:
        """Make what is missing; of several processes each makes its share.

        Raises:
            Interrupted: asked to stop between two clips; what was made is kept.
            LTX2Error: no teacher in the folder.
        """
        if self.settings.own_features:
            return
        teacher, store = None, Store(self.root)
        if world.rank == 0:  # a download, if any, is for all
            teacher_folder(self.settings, reporter, stop)
        missing = told(world, lambda: {self.key(c): c for c in cache.clips if not store.sound("crepa", self.key(c))})
        missing = list(share(missing, world).values())
        for done, clip in enumerate(missing):
            if stop.requested():
                raise Interrupted(f"CREPA's features are ready for {done} of {len(missing)} clips; queue again to go on.")
            teacher = teacher or load_teacher(teacher_folder(self.settings))
            features = self._features(store.read("latents", clip.latents)[0]["video"], vae, teacher, residency)
            store.write("crepa", self.key(clip), {"features": features.bfloat16()}, {"source": clip.source})
            reporter.progress(Progress("crepa", done + 1, len(missing)))
        if teacher is not None:
            residency.release(teacher)

    @torch.no_grad()
    def _features(self, latents: Tensor, vae: nn.Module, teacher: nn.Module, residency: Residency) -> Tensor:
        frames, height, width = latents.shape[1:]
        memory = usual_memory(residency.device)
        working = decode_working_bytes(frames * 8 - 7, height * 32, width * 32, latents.dtype, memory)
        with _without_encoder(vae, self.settings.drop_vae_encoder), residency.use(vae, working):
            pixels = decode_video_latents(vae, latents[None].to(residency.device), memory=memory)[0, :, shown_frames(frames)].transpose(0, 1).cpu()
        with residency.use(teacher):
            found = picture_features(teacher, pixels.to(residency.device), self.settings.image_size, self.settings.frames_batch)
            return to_grid(found, height, width).cpu()
