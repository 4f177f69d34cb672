"""What a SimpleTuner configuration says about the world outside the training step: trackers, the hub, other runs, other cards."""

from __future__ import annotations

from pathlib import Path

from ..errors import LTX2Error
from ..train.tracking_settings import TRACKERS
from .options import Options
from .rows import put

OUTSIDE_KEYS = (
    "report_to", "tracker_project_name", "push_to_hub", "hub_model_id", "model_card_private", "init_lora", "resume_from_checkpoint", "fsdp_enable",
    "validation_step_interval", "validation_steps",
)  # fmt: skip
_PREVIEWS_EVERY = 100


def read_outside(options: Options, run: dict, folder: Path) -> None:
    """folder: what relative paths start from."""
    _trackers(options, run)
    _hub(options, run)
    start = options.text("init_lora")
    if start:
        run["adapter"] = str(folder / Path(start).expanduser())
    options.honoured("init_lora", "adapter") if start else options.idle("init_lora", "it is empty")
    _resume(options, run)
    if options.flag("fsdp_enable"):
        run["distributed"] = "fsdp2"
    options.mapped("fsdp_enable", "distributed", "fsdp2 where several processes are started; otherwise what fits is chosen")


def _trackers(options: Options, run: dict) -> None:
    words = options.text("report_to", "none").replace(",", " ").split()
    names = [n for n in (TRACKERS if "all" in words else words) if n != "none"]
    known = [n for n in names if n in TRACKERS]
    if known:
        put(run, "train.tracking.trackers", known)
        put(run, "train.tracking.project", options.text("tracker_project_name", "ltx2-studio"))
        options.honoured("tracker_project_name", "train.tracking.project")
    note = f"{', '.join(set(names) - set(known))} is not in this pack; losses lie in the run's folder" if len(known) < len(names) else "losses lie in the run's folder too"
    options.honoured("report_to", "train.tracking.trackers", note) if known else options.idle("report_to", note)
    options.idle("tracker_project_name", "no tracker is asked for")


def _hub(options: Options, run: dict) -> None:
    push, name = options.flag("push_to_hub"), options.text("hub_model_id")
    if push and "/" not in name:
        raise LTX2Error(f"{options.source}: push_to_hub needs hub_model_id as owner/name, and it is {name!r}; write it in full, or switch push_to_hub off.")
    if push:
        put(run, "train.tracking.hub_model_id", name)
        put(run, "train.tracking.hub_private", options.flag("model_card_private", True))
        for key, where in (("hub_model_id", "hub_model_id"), ("model_card_private", "hub_private")):
            options.honoured(key, f"train.tracking.{where}")
    options.mapped("push_to_hub", "train.tracking.hub_model_id", "a name there switches it on, once the run has ended")
    for key in ("hub_model_id", "model_card_private"):
        options.idle(key, "push_to_hub is off, so nothing is uploaded")


def _resume(options: Options, run: dict) -> None:
    value = options.text("resume_from_checkpoint", "latest")
    if value != "latest":
        put(run, "train.resume", value)
        options.honoured("resume_from_checkpoint", "train.resume")
    options.mapped("resume_from_checkpoint", "train.resume", "auto: a run of the same name goes on from its newest state")


def read_previews(options: Options, run: dict) -> None:
    """``run["previews"]``: the samples, made while training, unless validation is switched off."""
    off, every = options.flag("validation_disable"), options.whole("validation_step_interval", options.whole("validation_steps", _PREVIEWS_EVERY))
    made = [{k: v for k, v in job.items() if k != "strength"} for job in run["samples"]] if every and not off else []
    if made:
        run["previews"] = made
        put(run, "train.preview_every", every)
        for key in ("validation_step_interval", "validation_steps"):
            options.honoured(key, "train.preview_every")
        options.default("validation_step_interval", every, "train.preview_every")
    for key in ("validation_step_interval", "validation_steps"):
        options.idle(key, "validation is off" if off else "no video is asked for")
    options.mapped("validation_disable", "train.preview_every", "no previews are made; the command sample makes the videos with these settings" if off else "previews are made")
