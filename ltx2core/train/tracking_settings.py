"""Who is told of a run besides the screen and the JSON lines."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import LTX2Error
from .checks import check_choice

TRACKERS = ("tensorboard", "wandb")
_REPOSITORY = re.compile(r"[\w.\-]+/[\w.\-]+")


@dataclass(frozen=True)
class TrackingSettings:
    """trackers: ``tensorboard`` (files in the run's folder) and ``wandb``, none by default; they must be installed.

    project: of wandb. hub_model_id: owner/name of the Hugging Face repository that the adapter is pushed to when the run
    has ended; empty for never. hub_private: make that repository private if it is new.
    """

    trackers: tuple[str, ...] = ()
    project: str = "ltx2-studio"
    hub_model_id: str = ""
    hub_private: bool = True

    def __post_init__(self) -> None:
        for name in self.trackers:
            check_choice("tracking.trackers", name, TRACKERS)
        if len(set(self.trackers)) != len(self.trackers):
            raise LTX2Error("tracking.trackers names one twice; name each once.")
        if self.hub_model_id and not _REPOSITORY.fullmatch(self.hub_model_id):
            raise LTX2Error(f"tracking.hub_model_id is {self.hub_model_id!r}; give owner/name, such as somebody/my-lora, or leave it empty.")
        if not self.project.strip():
            raise LTX2Error("tracking.project is empty; give wandb's project a name.")
