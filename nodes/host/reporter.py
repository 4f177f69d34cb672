"""Progress and messages to the canvas: the node's bar and preview, events over the websocket, and the log."""

from __future__ import annotations

import logging

from comfy.utils import ProgressBar
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ...ltx2core.protocols import Progress

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_PREVIEW_SIDE = 512


class HostReporter:
    """Events ``ltx2.progress`` and ``ltx2.message`` carry the prompt's and the node's id, so that js/ finds its node."""

    def __init__(self) -> None:
        context = get_executing_context()
        self._where = {"prompt_id": getattr(context, "prompt_id", None), "node": getattr(context, "node_id", None)}
        self._bar: ProgressBar | None = None
        self._stage = ""

    def progress(self, event: Progress) -> None:
        if self._bar is None or event.stage != self._stage:
            self._bar, self._stage = ProgressBar(event.total), event.stage
        preview = ("JPEG", event.preview, _PREVIEW_SIDE) if event.preview is not None else None
        self._send("ltx2.progress", {"stage": event.stage, "done": event.done, "total": event.total, "text": event.text, "metrics": dict(event.metrics)})
        # Last, because the host's bar raises when a person pressed Cancel; the core asks for that itself, between steps.
        self._bar.total = event.total
        self._update(event.done, preview)

    def _update(self, done: int, preview: object | None) -> None:
        import comfy.model_management as management

        try:
            self._bar.update_absolute(done, None, preview)
        except management.InterruptProcessingException:
            # The flag was cleared by raising; set it again, so that the core sees it where it can save its state.
            management.interrupt_current_processing(True)

    def message(self, text: str, level: str = "info") -> None:
        logging.log(_LEVELS.get(level, logging.INFO), "[LTX-2 Studio] %s", text)
        self._send("ltx2.message", {"text": text, "level": level})

    def _send(self, event: str, data: dict) -> None:
        server = PromptServer.instance
        if server is not None:
            server.send_sync(event, {**self._where, **data})  # to every page, so that a second tab or a reloaded one sees it
