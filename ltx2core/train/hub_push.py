"""A trained adapter to a Hugging Face repository, with a model card, when the run names one. Nothing is sent otherwise."""

from __future__ import annotations

from pathlib import Path

from ..errors import LTX2Error
from ..protocols import Reporter
from .loop import TrainResult
from .settings import RunConfig

_BASES = {"2.0": "Lightricks/LTX-2", "2.3": "Lightricks/LTX-2.3"}


def _losses(result: TrainResult) -> list[str]:
    rows = [f"| {v.step} | {_cell(v.video)} | {_cell(v.audio)} |" for v in result.validation]
    return ["", "Validation loss, fixed clips, noise levels and noise:", "", "| step | video | sound |", "|---|---|---|", *rows] if rows else []


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def model_card(run: RunConfig, result: TrainResult, file: str) -> str:
    """The README of the repository. It says how the adapter was made and nothing of the clips or captions."""
    family = result.adapter.family or ""
    base = _BASES.get(family)
    head = ["---", "tags:", "- lora", "- ltx-2", "- ltx-video", "- comfyui", *([f"base_model: {base}"] if base else []), "---", ""]
    lora, train = run.lora, run.train
    body = [
        f"# {result.adapter.name}", "",
        f"A {lora.kind} for LTX-2 {family}".rstrip() + ", trained with LTX-2 Studio. For ComfyUI: put the file into `models/loras` and load it with any LoRA loader.", "",
        f"- file: `{file}`", f"- rank {lora.rank}, alpha {lora.alpha:g}, {len(result.adapter.layers)} layers",
        f"- {result.steps} steps, {train.optimizer}, learning rate {train.learning_rate:g}, batch size {train.batch_size * train.accumulation}",
        *_losses(result), "",
    ]  # fmt: skip
    return "\n".join(head + body)


def push_adapter(run: RunConfig, result: TrainResult, file: Path, reporter: Reporter, *, endpoint: str | None = None, token: str | None = None) -> str | None:
    """Upload ``file`` and a model card in one commit; returns the repository's address, None when none was asked for.

    Args:
        endpoint, token: of the hub; those of huggingface_hub's own environment and login by default.

    Raises:
        LTX2Error: the hub refused or could not be reached; the file on disk is untouched.
    """
    tracking = run.train.tracking
    if not tracking.hub_model_id:
        return None
    from huggingface_hub import CommitOperationAdd, HfApi

    api, card = HfApi(endpoint=endpoint, token=token), model_card(run, result, file.name)
    operations = [CommitOperationAdd(file.name, str(file)), CommitOperationAdd("README.md", card.encode("utf-8"))]
    try:
        address = api.create_repo(tracking.hub_model_id, private=tracking.hub_private, exist_ok=True)
        api.create_commit(tracking.hub_model_id, operations, commit_message=f"{file.name} by LTX-2 Studio")
    except Exception as error:  # noqa: BLE001 - its versions raise errors of different network libraries
        why = " ".join(str(error).split())
        raise LTX2Error(f"{file} is written, but it could not be pushed to {tracking.hub_model_id} ({why}); log in with hf auth login and queue again.") from error
    reporter.message(f"{file.name} was pushed to {address}.")
    return str(address)
