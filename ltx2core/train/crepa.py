"""CREPA: hidden states of a block are pulled towards a picture encoder's features of the same and of neighbouring frames.

Hwang et al. 2025: S_f = sim(f, f) + sum over neighbours k of exp(-|k - f| / tau) sim(f, k), where sim is the mean over
tokens of the cosine between the projected hidden states of frame f and the teacher's features of frame k. The loss is
-lambda * mean over frames and clips of S.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from ..models.forward import BlockInputs, BlockRunner
from .checks import check_choice, check_range, check_whole

SCHEDULES = ("constant", "linear", "cosine", "polynomial")
THRESHOLD_MODES = ("permanent", "recoverable")
FEATURE_SOURCES = ("encoder", "backbone")
# Of the running mean of the score that the threshold is compared with.
SCORE_DECAY = 0.99


@dataclass(frozen=True)
class CrepaSettings:
    """encoder: folder of a DINOv2 model (config.json and .safetensors), or its name on the hub (facebook/dinov2-giant), found in
    the hub's cache, and downloaded into it only with allow_download. feature_source: ``encoder``, or ``backbone`` for the
    model's own hidden states behind block teacher_block_index, without gradient, in place of an encoder. weight: lambda. adjacent_*: which neighbours count
    and how fast their weight falls; cumulative takes all up to the distance. warmup_steps, schedule, end_weight,
    decay_steps (0: the run's), power: the weight over steps; cutoff_step: 0 for never. similarity_threshold: the running
    mean of the score at which it stops (0: never), for good or until it falls again. spatial_align off compares means
    over each frame. image_size: pixels of the encoder's input. frames_batch: frames at once, 0 for all.
    drop_vae_encoder: the VAE's encoder stays off the device while features are made.
    """

    encoder: str = ""
    block_index: int = 8
    weight: float = 0.5
    adjacent_distance: int = 1
    adjacent_tau: float = 1.0
    cumulative_neighbours: bool = False
    normalise_neighbours: bool = False
    normalise_by_frames: bool = True
    spatial_align: bool = True
    image_size: int = 518
    frames_batch: int = 0
    drop_vae_encoder: bool = False
    warmup_steps: int = 0
    schedule: str = "constant"
    end_weight: float = 0.0
    decay_steps: int = 0
    power: float = 2.0
    cutoff_step: int = 0
    similarity_threshold: float = 0.0
    threshold_mode: str = "permanent"
    allow_download: bool = False
    feature_source: str = "encoder"
    teacher_block_index: int = 16

    @property
    def own_features(self) -> bool:
        return self.feature_source == "backbone"

    def __post_init__(self) -> None:
        check_choice("crepa.feature_source", self.feature_source, FEATURE_SOURCES)
        check_whole("crepa.teacher_block_index", self.teacher_block_index, 0)
        if not self.own_features and not self.encoder.strip():
            raise LTX2Error("crepa.encoder is empty; give the folder of a DINOv2, its name on the hub such as facebook/dinov2-giant, or feature_source backbone.")
        if self.own_features and self.teacher_block_index == self.block_index:
            raise LTX2Error(f"crepa.block_index and crepa.teacher_block_index are both {self.block_index}; a block cannot teach itself, choose a later teacher.")
        for name, low in (("block_index", 0), ("adjacent_distance", 0), ("image_size", 14), ("frames_batch", 0), ("warmup_steps", 0), ("decay_steps", 0), ("cutoff_step", 0)):
            check_whole(f"crepa.{name}", getattr(self, name), low)
        for name in ("weight", "end_weight", "similarity_threshold"):
            check_range(f"crepa.{name}", getattr(self, name), 0)
        check_range("crepa.adjacent_tau", self.adjacent_tau, 1e-6)
        check_range("crepa.power", self.power, 0.1, 10)
        check_choice("crepa.schedule", self.schedule, SCHEDULES)
        check_choice("crepa.threshold_mode", self.threshold_mode, THRESHOLD_MODES)

    def weight_at(self, step: int, steps: int) -> float:
        """lambda of optimizer step ``step`` (from 0) of ``steps``, the threshold aside."""
        if self.cutoff_step and step >= self.cutoff_step:
            return 0.0
        if step < self.warmup_steps:
            return self.weight * (step + 1) / self.warmup_steps
        done = min(1.0, (step - self.warmup_steps) / max(1, (self.decay_steps or steps) - self.warmup_steps))
        factors = {"linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "polynomial": (1 - done) ** self.power}
        return self.weight if self.schedule == "constant" else self.end_weight + (self.weight - self.end_weight) * factors[self.schedule]


def neighbour_weights(frames: int, settings: CrepaSettings) -> Tensor:
    """[frames, frames] float32: what sim(f, k) counts in S_f, 1 on the diagonal."""
    gap = (torch.arange(frames)[:, None] - torch.arange(frames)).abs()
    distance = min(settings.adjacent_distance, frames - 1)
    chosen = (gap <= distance if settings.cumulative_neighbours else gap == distance) & (gap > 0)
    weights = torch.exp(-gap / settings.adjacent_tau) * chosen
    if settings.normalise_neighbours:
        weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-12)
    return weights + torch.eye(frames)


def alignment(projected: Tensor, teacher: Tensor, settings: CrepaSettings) -> Tensor:
    """Sum or mean over frames of S, [B] float32.

    Args:
        projected, teacher: [B, F, N, E].
    """
    if not settings.spatial_align:
        projected, teacher = projected.mean(2, keepdim=True), teacher.mean(2, keepdim=True)
    ours, theirs = (torch.nn.functional.normalize(t.float(), dim=-1) for t in (projected, teacher))
    similar = torch.einsum("bfne,bgne->bfg", ours, theirs) / ours.shape[2]
    frames = ours.shape[1]
    scores = (similar * neighbour_weights(frames, settings).to(similar.device)).sum((1, 2))
    return scores / frames if settings.normalise_by_frames else scores


def make_head(width: int, features: int, seed_values: torch.Generator) -> nn.Sequential:
    """LayerNorm and a linear layer from hidden states to the teacher's features, float32."""
    head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, features))
    with torch.no_grad():
        head[1].weight.copy_((torch.rand(head[1].weight.shape, generator=seed_values) * 2 - 1) / math.sqrt(width))
        head[1].bias.zero_()
    return head


class CaptureRunner:
    """Keeps the video's hidden states behind the blocks of ``settings``; goes around a TREAD runner, so that it sees all tokens.

    hidden: with gradient. own: of the teacher's block, without; None where an encoder teaches.
    """

    def __init__(self, run: BlockRunner, settings: CrepaSettings):
        self._run, self._settings = run, settings
        self.hidden: Tensor | None = None
        self.own: Tensor | None = None

    def __call__(self, index: int, block: nn.Module, hidden: Tensor, audio_hidden: Tensor, inputs: BlockInputs) -> tuple[Tensor, Tensor]:
        hidden, audio_hidden = self._run(index, block, hidden, audio_hidden, inputs)
        if index == self._settings.block_index:
            self.hidden = hidden
        if self._settings.own_features and index == self._settings.teacher_block_index:
            self.own = hidden.detach()
        return hidden, audio_hidden


@dataclass(frozen=True)
class CrepaTerm:
    """The part of an objective that CREPA adds."""

    head: nn.Module
    settings: CrepaSettings

    def score(self, seen: CaptureRunner, teacher: Tensor) -> Tensor:
        """[B]: alignment of the hidden states [B, F*N, D] in ``seen`` with features [B, F, N, E], or with its own where E is 0."""
        if seen.own is not None:
            teacher = seen.own.unflatten(1, teacher.shape[1:3])
        projected = self.head(seen.hidden.float()).unflatten(1, teacher.shape[1:3])
        return alignment(projected, teacher, self.settings)


class Threshold:
    """Switches CREPA off when the running mean of its score reaches the threshold."""

    def __init__(self, settings: CrepaSettings):
        self._settings = settings
        self._mean, self._seen, self._off = 0.0, 0, False

    @property
    def off(self) -> bool:
        return self._off

    def update(self, score: float) -> None:
        self._seen += 1
        self._mean = score if self._seen == 1 else SCORE_DECAY * self._mean + (1 - SCORE_DECAY) * score
        if not self._settings.similarity_threshold:
            return
        above = self._mean >= self._settings.similarity_threshold
        self._off = above or (self._off and self._settings.threshold_mode == "permanent")

    def state_dict(self) -> dict[str, Tensor]:
        return {"threshold": torch.tensor([self._mean, self._seen, float(self._off)], dtype=torch.float64)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        mean, seen, off = state["threshold"].tolist()
        self._mean, self._seen, self._off = mean, int(seen), bool(off)


def check_crepa(settings: CrepaSettings, layers: int, spans: tuple[tuple[int, int], ...]) -> None:
    """Raises LTX2Error when a block does not exist, or lies where TREAD has taken tokens out."""
    for name in ("block_index", "teacher_block_index") if settings.own_features else ("block_index",):
        block = getattr(settings, name)
        if block >= layers:
            raise LTX2Error(f"crepa.{name} is {block} and the model has blocks 0 to {layers - 1}; choose one of them.")
        for start, end in spans:
            if start <= block < end:
                raise LTX2Error(f"crepa.{name} {block} lies in the TREAD route from {start} to {end}, where tokens are missing; choose a block outside.")
