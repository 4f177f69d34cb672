"""What a training run is asked to do: frozen records with strict reading and one clear sentence for a bad value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import LTX2Error
from ..models.forward import CROSS_TIMESTEP_RULES
from ..strict import from_dict, to_plain
from .checks import check_choice, check_range, check_whole
from .conditioning import Condition, ConditioningSettings
from .reflexflow import ReflexFlowSettings
from .crepa import CrepaSettings
from .rollout_settings import RolloutSettings
from .tracking_settings import TrackingSettings
from .tread import TreadRoute

TARGET_PRESETS = ("auto", "video", "video_ff", "audio", "audio_ff", "cross_modal", "audio_video", "all_linear", "audio_only", "ic")
ADAPTER_KINDS = ("lora", "dora", "lokr", "loha")
TIMESTEP_KINDS = ("shifted_logit_normal", "logit_normal", "uniform", "beta")
INITS = ("kaiming_uniform", "gaussian")
LOSSES = ("l2", "huber", "smooth_l1")
OPTIMIZERS = ("adamw", "adamw_bf16", "adamw_8bit", "prodigy", "adafactor", "lion", "came")
SCHEDULES = ("constant", "linear", "cosine", "polynomial")
DTYPE_NAMES = ("bf16", "float32", "auto")


@dataclass(frozen=True)
class LoRASettings:
    """rank and alpha scale the change by alpha/rank, with ``rslora`` by alpha/sqrt(rank). ``targets``: a preset's name,
    or patterns of full module paths (``transformer_blocks.*.attn1.to_q``). ``init``: how the first matrix of a LoRA or
    DoRA starts; the second starts at zero. ``kind``: lora, dora (peft), lokr, loha (lycoris). ``factor``: of LoKr, the
    size of the small Kronecker factor; -1 is the most even split.
    """

    rank: int = 32
    alpha: float = 32
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "auto"
    init: str = "kaiming_uniform"
    rslora: bool = False
    kind: str = "lora"
    factor: int = -1

    def __post_init__(self) -> None:
        check_whole("rank", self.rank, 1)
        check_choice("kind", self.kind, ADAPTER_KINDS)
        if self.factor != -1:
            check_whole("factor", self.factor, 2)
        if self.kind in ("lokr", "loha") and self.dropout:
            raise LTX2Error(f"dropout is {self.dropout:g} and {self.kind} has none; set dropout to 0, or kind to lora or dora.")
        check_range("alpha", self.alpha, 1e-6)
        check_range("dropout", self.dropout, 0, 0.99)
        check_choice("init", self.init, INITS)
        if isinstance(self.targets, str):
            check_choice("targets", self.targets, TARGET_PRESETS)
        elif not self.targets or not all(isinstance(t, str) and t for t in self.targets):
            raise LTX2Error("targets is an empty list; name a preset or give patterns such as transformer_blocks.*.attn1.to_q.")

    @property
    def scaling(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


@dataclass(frozen=True)
class TimestepSettings:
    """How sigma is drawn; see ``timesteps.py``. ``shift``: None shifts by token count (shifted_logit_normal) or not at
    all (others); a number is the static shift s of s*u/(1+(s-1)*u). ``independent_audio``: sound has its own sigma.
    ``offsets``: (name of a dataset or pattern of clip paths, offset) pairs; the first that fits a clip moves its mean by the offset.
    """

    kind: str = "shifted_logit_normal"
    mean: float = 0.0
    std: float = 1.0
    alpha: float = 1.0
    beta: float = 1.0
    shift: float | None = None
    uniform_fraction: float = 0.1
    independent_audio: bool = True
    offsets: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        check_choice("timesteps.kind", self.kind, TIMESTEP_KINDS)
        check_range("timesteps.mean", self.mean, -20, 20)
        for name in ("std", "alpha", "beta"):
            check_range(f"timesteps.{name}", getattr(self, name), 1e-3)
        check_range("timesteps.uniform_fraction", self.uniform_fraction, 0, 1)
        if self.shift is not None:
            check_range("timesteps.shift", self.shift, 1e-3)
        for pair in self.offsets:
            if len(pair) != 2 or not isinstance(pair[0], str):
                raise LTX2Error(f"timesteps.offsets holds {pair!r}; give pairs of a pattern of clip paths and an offset, such as */portraits/*, -0.5.")
            check_range(f"timesteps.offsets of {pair[0]}", pair[1], -10, 10)


@dataclass(frozen=True)
class TrainSettings:
    """One run of training.

    steps: optimizer steps. warmup: steps over which the rate rises from 0. schedule: after the warm-up.
    max_grad_norm: 0 means no clipping. batch_size: clips a forward pass; accumulation: passes an optimizer step.
    optimizer: ``adamw`` keeps a float32 master and float32 moments beside a bf16 adapter; ``adamw_bf16`` keeps all in
    bf16 and rounds stochastically; ``adamw_8bit`` keeps moments in 8 bits; ``prodigy`` finds the rate itself, times
    learning_rate, which should be 1; ``adafactor`` and ``lion`` keep about one number less a weight; ``came`` is of the
    library pytorch-optimizer, if installed. weight_decay: of matrices; decay_vectors: of vectors too, a DoRA's sizes and
    CREPA's bias, which 0 would ruin. schedule_end: what
    share of the rate a falling schedule ends at; schedule_restarts: of cosine; schedule_power: of polynomial. ema_decay:
    of the mean of the weights that is validated and exported, 0 for the weights themselves. divergence_guard: save and stop when a validation loss is more than this many
    times its best; 0 is off. audio_weight: of the sound's loss in the sum; 0 means that sound is not trained.
    first_frame_probability: chance that a clip's first latent frame is given clean (for image-to-video).
    caption_dropout: chance of the empty prompt. checkpoint_every, validate_every: in steps; 0 means only at the end.
    keep_checkpoints: how many of the newest are kept; keep_every: those at multiples of so many steps are kept too, 0 for
    none. resume: ``auto`` goes on where the run was, ``new`` begins anew and sets earlier checkpoints aside, a path names
    the checkpoint to begin from. preview_every: steps between previews, 0 for none. tracking: who else is told.
    gradient_checkpointing: recompute blocks in backward. global_batch: clips an optimizer step, of one bucket and none twice an
    epoch, shared by all processes in passes of batch_size clips; 0 for accumulation passes of batch_size (one process) or
    that many on each (several).
    dtype: of the weights and the adapter; auto is the model's own. conditioning: what else is given clean.
    audio_only: the video branch is not computed, and a run switches TREAD and CREPA off. tread: routes of video tokens around blocks, see ``tread.py``.
    rollout: scheduled sampling. reflexflow: its loss terms, None for off. crepa: None for off.
    """

    steps: int = 2000
    learning_rate: float = 1e-4
    warmup: int = 50
    schedule: str = "constant"
    max_grad_norm: float = 1.0
    weight_decay: float = 0.01
    batch_size: int = 1
    accumulation: int = 1
    seed: int = 42
    optimizer: str = "adamw"
    timesteps: TimestepSettings = field(default_factory=TimestepSettings)
    loss: str = "l2"
    huber_c: float = 0.1
    audio_weight: float = 1.0
    first_frame_probability: float = 0.0
    caption_dropout: float = 0.0
    av_cross_timestep: str = "official"
    checkpoint_every: int = 250
    keep_checkpoints: int = 3
    validate_every: int = 250
    validation_clips: int = 4
    gradient_checkpointing: bool = True
    dtype: str = "bf16"
    conditioning: ConditioningSettings = field(default_factory=ConditioningSettings)
    audio_only: bool = False
    tread: tuple[TreadRoute, ...] = ()
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    reflexflow: ReflexFlowSettings | None = None
    crepa: CrepaSettings | None = None
    schedule_end: float = 0.0
    schedule_restarts: int = 0
    schedule_power: float = 2.0
    ema_decay: float = 0.0
    divergence_guard: float = 0.0
    decay_vectors: bool = False
    keep_every: int = 0
    resume: str = "auto"
    preview_every: int = 0
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    global_batch: int = 0

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those of ``conditioning``, behind the first frame's of ``first_frame_probability``."""
        first = (Condition("first_frame", self.first_frame_probability),) if self.first_frame_probability > 0 else ()
        return first + self.conditioning.conditions

    @property
    def learned(self) -> tuple[str, ...]:
        """The streams that have a loss in this run: neither left out nor always given."""
        given = self.conditioning.always_given
        picture, sound = not self.audio_only and given != "video", self.audio_weight > 0 and given != "audio"
        return ("video",) * picture + ("audio",) * sound

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("warmup", 0), ("batch_size", 1), ("accumulation", 1), ("seed", 0), ("checkpoint_every", 0),
                          ("keep_checkpoints", 1), ("keep_every", 0), ("validate_every", 0), ("validation_clips", 0), ("preview_every", 0), ("global_batch", 0)):  # fmt: skip
            check_whole(name, getattr(self, name), low)
        for name in ("learning_rate", "max_grad_norm", "weight_decay", "audio_weight"):
            check_range(name, getattr(self, name), 0)
        if not isinstance(self.resume, str) or not self.resume.strip():
            raise LTX2Error("resume is empty; give auto, new, or the path of a checkpoint.")
        if self.global_batch and self.accumulation > 1:
            raise LTX2Error(f"global_batch is {self.global_batch} and accumulation {self.accumulation}; leave accumulation at 1, the passes of a step follow from global_batch.")
        check_range("huber_c", self.huber_c, 1e-6)
        check_range("first_frame_probability", self.first_frame_probability, 0, 1)
        check_range("schedule_end", self.schedule_end, 0, 1)
        check_whole("schedule_restarts", self.schedule_restarts, 0)
        check_range("schedule_power", self.schedule_power, 0.1, 10)
        if self.divergence_guard:
            check_range("divergence_guard", self.divergence_guard, 1)
        check_range("ema_decay", self.ema_decay, 0, 0.99999)
        check_range("caption_dropout", self.caption_dropout, 0, 1)
        if self.conditioning.frozen_video > 0 and self.audio_weight == 0:
            raise LTX2Error("frozen_video leaves only the sound to learn and audio_weight is 0; set audio_weight above 0, or frozen_video to 0.")
        self._check_audio_only()
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("loss", self.loss, LOSSES)
        check_choice("av_cross_timestep", self.av_cross_timestep, CROSS_TIMESTEP_RULES)
        check_choice("dtype", self.dtype, DTYPE_NAMES)

    def _check_audio_only(self) -> None:
        if not self.audio_only:
            return
        if self.audio_weight == 0:
            raise LTX2Error("audio_only trains the sound alone and audio_weight is 0; set audio_weight above 0, or audio_only off.")
        for name, used in (("rollout", self.rollout.max_step_offset), ("reflexflow", self.reflexflow), ("conditions on video", self.conditions),
                           ("frozen_audio", self.conditioning.frozen_audio), ("frozen_video", self.conditioning.frozen_video)):  # fmt: skip
            if used:
                raise LTX2Error(f"audio_only computes no video, so {name} cannot be used with it; switch one of them off.")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result besides the data and the base weights."""

    lora: LoRASettings = field(default_factory=LoRASettings)
    train: TrainSettings = field(default_factory=TrainSettings)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> RunConfig:
        """Strict: an unknown key is an LTX2Error that names the nearest known one."""
        return from_dict(cls, raw, "run")

    def to_dict(self) -> dict[str, Any]:
        return to_plain(self)
