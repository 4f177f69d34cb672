"""A training run with its memory decided: the plain engine on a processor, the fast one on a card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils._triton import has_triton

from ..cache.dataset import DatasetCache
from ..checkpoint.adapter import Adapter
from ..checkpoint.shapes import Shapes, transformer_shapes
from ..distributed.kinds import choose_kind
from ..distributed.world import ALONE, World
from ..errors import LTX2Error
from ..models.audio_branch import load_audio_branch
from ..models.handle import DTYPES, Models
from ..protocols import Reporter, Residency, StopSignal
from ..train.controls import Controls, Paused, with_pauses
from ..train.loop import TrainResult, train
from ..train.prepare import without_picture_methods
from ..train.preview_clips import ClipPreviews, PreviewJob
from ..train.reference import References, ReferenceScale
from ..train.settings import RunConfig
from .block_file import BlockFile
from .engine import FastEngine, MemorySettings, fast_engine
from .load import load_of
from .plan import BaseSize, Plan, choose, choose_sharded, free_device_bytes, free_host_bytes, predict
from .residency import WithoutBlocks
from .streams import can_capture

_NCCL_BYTES = 400 * 2**20


def make_plan(run: RunConfig, shapes: Shapes, cache: DatasetCache, memory: MemorySettings | None, residency: Residency, world: World = ALONE,
              sharded: bool = False) -> Plan | None:  # fmt: skip
    """The plan of a run on a card, the same for all processes of ``world``; None on a processor, where all is resident and plain.

    Args:
        shapes: of the transformer's weights.
        sharded: each card of a machine has its part of the blocks.

    Raises:
        LTX2Error: nothing fits, or streaming was asked for without a card.
    """
    if residency.device.type != "cuda":
        if memory is not None and memory.streamed:
            raise LTX2Error("Streaming needs a graphics card; choose 0 streamed blocks on this machine.")
        return None
    size, load = BaseSize.of_shapes(shapes), load_of(run, shapes, [(c.frames, c.height, c.width, c.frame_rate, c.batch_size) for c in cache.clips], cache.has_audio)
    cards, captured = world.local_size if sharded else 1, can_capture(residency.device)
    if memory is not None:
        return predict(size, load, replace(memory, captured=memory.captured and captured), cards)
    # Summing the gradients takes a second copy of them, and buffers of NCCL's own.
    beside = 2 * load.trained + _NCCL_BYTES if world.size > 1 else 0
    free = world.gather((free_device_bytes(residency.device) - beside, free_host_bytes() // world.local_size))
    least = [min(column) for column in zip(*free, strict=True)]
    return choose_sharded(size, load, cards, *least) if sharded else choose(size, load, *least, captured=captured)


def train_lora(
    models: Models,
    run: RunConfig,
    cache: DatasetCache,
    *,
    directory: Path,
    name: str,
    residency: Residency,
    reporter: Reporter,
    stop: StopSignal,
    memory: MemorySettings | None = None,
    validation: DatasetCache | None = None,
    adapter: Adapter | None = None,
    references: DatasetCache | None = None,
    regularisation: DatasetCache | None = None,
    previews: Sequence[PreviewJob] = (),
    controls: Controls | None = None,
    until: int | None = None,
    world: World = ALONE,
    distributed: str = "auto",
) -> TrainResult:
    """``train.loop.train`` with the base where ``memory`` says; None lets the plan decide by what is free.

    Of sound alone only its own branch is read, a sixth of the weights, and lies on the device whole and plain; with previews
    all of the model does, since they show the picture too. A pause that ``controls`` ask for is waited for here, with
    nothing of the run on the device.

    Args:
        world: the processes that share the run; all call this.
        distributed: how the base lies on several cards, see ``distributed/kinds.py``.

    Raises:
        Interrupted, LTX2Error: as ``train``; also when nothing fits.
    """
    run = without_picture_methods(run, reporter)
    services, shown = {"reporter": reporter, "stop": stop}, None if references is None else References(references)
    films = ClipPreviews(models, previews, directory, name, residency=residency, scale=_preview_scale(run, cache, shown), **services) if previews else None
    common = {
        "directory": directory, **services, "base": models.checkpoint.fingerprint("transformer"), "name": name, "validation": validation,
        "adapter": adapter, "references": shown, "regularisation": regularisation, "controls": controls, "preview": films, "until": until, "world": world,
    }  # fmt: skip

    def attempt(again: bool) -> TrainResult:
        # After a pause it goes on where it was, however it had begun.
        now = replace(run, train=replace(run.train, resume="auto")) if again else run
        crepa = run.train.crepa
        vae = models.component("video_vae") if crepa and not crepa.own_features else None
        return _train_planned(models, now, cache, memory, residency, reporter, {**common, "vae": vae}, distributed)

    return with_pauses(attempt, controls, stop, reporter, run.train.resume)


def _preview_scale(run: RunConfig, cache: DatasetCache, references: References | None) -> ReferenceScale | None:
    """Of the references that the run shows the model; None when it shows none. Raises LTX2Error for a run that makes no previews."""
    if not run.train.preview_every:
        raise LTX2Error("Previews are given and preview_every is 0; set it to the steps between two of them, or leave them out.")
    chosen = run.train.conditioning
    return references.check(cache, chosen) if references is not None and chosen.reference else None


def _train_planned(models: Models, run: RunConfig, cache: DatasetCache, memory: MemorySettings | None, residency: Residency, reporter: Reporter, common: Mapping[str, Any],
                   distributed: str) -> TrainResult:  # fmt: skip
    """One part of the run, with the base placed anew."""
    world = common["world"]

    def plan_of(sharded: bool) -> Plan | None:
        return None if run.train.audio_only else make_plan(run, transformer_shapes(models.checkpoint), cache, memory, residency, world, sharded)

    placed = choose_kind(distributed, world, run, memory, plan_of)
    if placed.why:
        reporter.message(placed.why)
    plan = placed.plan
    if plan is not None:
        reporter.memory(plan.told(free_device_bytes(residency.device)))
    if placed.sharded:
        # On a processor with the arithmetic of the plain step, as without sharding.
        sharded = plan.settings if plan else memory or MemorySettings(fused=False)
        return _sharded(models, run, cache, residency, {**common, "precision": _precision(models, sharded)}, sharded)
    common = {**common, "precision": _precision(models, plan.settings if plan and not run.train.audio_only else None)}
    if run.train.audio_only:
        return _sound_alone(models, run, cache, residency, reporter, memory, common)
    if plan is None:
        if memory is not None and memory.precision != "bf16":
            reporter.message(f"On a processor the base is trained with as it is, so precision {memory.precision} is left aside.", "warning")
        return _resident(run, models.component("transformer"), cache, residency, common)
    settings = plan.settings
    if run.lora.kind == "dora" and (settings.precision != "bf16" or settings.streamed):
        raise LTX2Error("A DoRA needs the base weights as they are, and here they would be quantised or streamed; choose kind lora, or bf16 without streaming.")
    if settings.compiled and not has_triton():
        reporter.message("Triton is not installed, so the blocks are not compiled: a step takes longer; the result is the same.", "warning")
        settings = replace(settings, compiled=False)
    wanted = memory or MemorySettings()
    if wanted.captured and not settings.captured and not can_capture(residency.device):
        reporter.message(
            "Device memory comes from CUDA's own allocator here, which captured steps cannot use: each step is launched kernel by kernel and takes longer, "
            "with the same result. Start ComfyUI with --disable-cuda-malloc for the faster form.",
            "warning",
        )
    told = replace(plan.settings, captured=wanted.captured)  # for a repetition, whose machine may have what is missing here
    working = plan.optimizer + plan.activations
    if settings.precision == "bf16" and not settings.streamed:
        result = _resident(run, models.component("transformer"), cache, residency, {**common, "working_bytes": working}, fast_engine(settings))
        return replace(result, memory=told)
    with _blocks_in_file(models, residency) as file:
        engine = fast_engine(settings, file.bring)
        result = train(run, file.model, cache, residency=WithoutBlocks(residency, plan.weights), engine=engine, working_bytes=working, **common)
        return replace(result, memory=told)


def _precision(models: Models, settings: MemorySettings | None) -> str:
    """What the base's weights are in training; as they were loaded where nothing quantises them."""
    plain = next(name for name, dtype in DTYPES.items() if dtype == models.dtype)
    return plain if settings is None or settings.precision == "bf16" else settings.precision


def _sound_alone(models: Models, run: RunConfig, cache: DatasetCache, residency: Residency, reporter: Reporter, memory: MemorySettings | None,
                 common: Mapping[str, Any]) -> TrainResult:  # fmt: skip
    """``train`` with the sound's branch of the model."""
    if memory is not None:
        reporter.message("Sound alone is trained with the sound's own weights, plain and resident; the memory settings are left aside.")
    if common["preview"] is not None:
        reporter.message("Previews show the picture too, so the whole model lies on the device; without them sound alone needs a sixth of it.")
        return _resident(run, models.component("transformer"), cache, residency, common)
    whole = models.loaded("transformer")
    if whole is not None:
        residency.release(whole)
    branch = load_audio_branch(models.checkpoint, models.dtype)
    try:
        return _resident(run, branch, cache, residency, common)
    finally:
        residency.release(branch)


@contextmanager
def _blocks_in_file(models: Models, residency: Residency) -> Iterator[BlockFile]:
    """The transformer with its blocks unread, as the models' own; afterwards, the blocks having gone into another form, the
    next user reads the file anew. A transformer that was there before is let go, since both need not fit host memory.
    """
    whole = models.loaded("transformer")
    if whole is not None:
        residency.release(whole)
        models.drop("transformer")
    file = BlockFile(models.checkpoint, models.dtype)
    models.hold("transformer", file.model)
    try:
        yield file
    finally:
        models.drop("transformer")
        residency.release(file.model)


def _sharded(models: Models, run: RunConfig, cache: DatasetCache, residency: Residency, common: Mapping[str, Any], memory: MemorySettings) -> TrainResult:
    """``train`` with the blocks shared out over the cards."""
    from ..distributed.fsdp import sharded_engine  # it is built on this package

    with _blocks_in_file(models, residency) as file:
        engine = sharded_engine(common["world"], memory, file.bring)
        return train(run, file.model, cache, residency=WithoutBlocks(residency), engine=engine, **common)


def _resident(run: RunConfig, model: nn.Module, cache: DatasetCache, residency: Residency, common: Mapping[str, Any],
              make: Callable[..., FastEngine] | None = None) -> TrainResult:  # fmt: skip
    """``train`` with weights that stay whole and are the model's own again afterwards; they leave the device for a pause."""
    made: list[FastEngine] = []

    def engine(*arguments) -> FastEngine:
        made.append(make(*arguments))
        return made[-1]

    try:
        try:
            return train(run, model, cache, residency=residency, **common, **({} if make is None else {"engine": engine}))
        finally:
            for used in made:
                used.close()
    except Paused:
        residency.release(model)
        raise
