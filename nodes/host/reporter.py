"""Progress and messages to the canvas: the node's bar and preview, events over the websocket, and the log."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import comfy.model_management as management
import torch
from comfy.utils import ProgressBar
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ...ltx2core.protocols import MemoryPlanned, PreviewMade, Progress
from ..messages import in_languages
from .controls import LiveRun
from .pace import Pace

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_PREVIEW_SIDE = 512


def device_memory() -> dict[str, int]:
    """Bytes in use on the host's device, by all programs, and its size."""
    device = management.get_torch_device()
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
    else:
        free, total = management.get_free_memory(device), management.get_total_memory(device)
    return {"used": int(total - free), "total": int(total)}


class HostReporter:
    """Events ``ltx2.…`` carry the prompt's and the node's id, and the run's name, so that js/ finds its node."""

    def __init__(self) -> None:
        context = get_executing_context()
        self._where = {"prompt_id": getattr(context, "prompt_id", None), "node": getattr(context, "node_id", None)}
        self._bar: ProgressBar | None = None
        self._stage = ""
        self._run: LiveRun | None = None
        self._pace = Pace()

    def follow(self, run: LiveRun) -> None:
        """Let events name ``run``, and keep its newest one for pages that are loaded later."""
        self._run = run
        self._where["run"] = run.name

    def progress(self, event: Progress) -> None:
        if self._bar is None or event.stage != self._stage:
            self._bar, self._stage = ProgressBar(event.total), event.stage
            self._pace.forget()
        # The panel of a run plays whole films; a still beneath it would be the same again.
        preview = ("JPEG", event.preview, _PREVIEW_SIDE) if event.preview is not None and self._run is None else None
        data = {"stage": event.stage, "done": event.done, "total": event.total, "text": event.text, "metrics": dict(event.metrics)}
        if self._run is not None:
            data |= {"pace": self._pace.after(event.done, event.total), "memory": device_memory()}
            self._run.progress = data
        self.send("ltx2.progress", data)
        # Last, because the host's bar raises when a person pressed Cancel; the core asks for that itself, between steps.
        self._bar.total = event.total
        self._update(event.done, preview)

    def _update(self, done: int, preview: object | None) -> None:
        try:
            self._bar.update_absolute(done, None, preview)
        except management.InterruptProcessingException:
            # The flag was cleared by raising; set it again, so that the core sees it where it can save its state.
            management.interrupt_current_processing(True)

    def message(self, text: str, level: str = "info") -> None:
        logging.log(_LEVELS.get(level, logging.INFO), "[LTX-2 Studio] %s", text)
        self.send("ltx2.message", in_languages({"text": text, "level": level}, "text"))

    def preview(self, event: PreviewMade) -> None:
        self.send("ltx2.preview", {"run": event.run, "step": event.step, "file": event.file})

    def memory(self, event: MemoryPlanned) -> None:
        logging.info("[LTX-2 Studio] %s", event.text)
        plan = in_languages(asdict(event), "text")
        if self._run is not None:
            self._run.plan = plan
        self.send("ltx2.plan", plan)

    def send(self, event: str, data: dict[str, Any]) -> None:
        server = PromptServer.instance
        if server is not None:
            server.send_sync(event, {**self._where, **data})  # to every page, so that a second tab or a reloaded one sees it
