"""ComfyUI's interrupt as a stop signal."""

from __future__ import annotations

import comfy.model_management as management


class HostStop:
    def requested(self) -> bool:
        """Whether a person pressed Cancel; the flag is left set, so that :meth:`reraise` can hand it on."""
        return management.processing_interrupted()

    def reraise(self) -> None:
        """Raise the host's own interrupt, so that the queue shows "interrupted" and not an error."""
        management.throw_exception_if_processing_interrupted()
