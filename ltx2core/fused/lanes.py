"""Picture and sound side by side: the sound's small kernels run on a stream of their own, beside the picture's large ones."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from ..memory.streams import stream_of


class Lanes:
    """The current stream for the picture, another one for the sound. Without a card both are one.

    Between ``fork`` and ``join`` a tensor that the other lane reads must stay referenced, since torch gives freed memory to
    the lane that made it.
    """

    def __init__(self, device: torch.device):
        self._side = stream_of(device, "sound") if device.type == "cuda" else None

    def side(self) -> AbstractContextManager:
        return nullcontext() if self._side is None else torch.cuda.stream(self._side)

    def fork(self) -> None:
        """The sound's lane waits for all that the picture's was given."""
        if self._side is not None:
            self._side.wait_stream(torch.cuda.current_stream())

    def meet(self) -> None:
        """Each waits for the other."""
        if self._side is not None:
            main, event = torch.cuda.current_stream(), torch.cuda.Event()
            event.record(main)
            main.wait_stream(self._side)
            self._side.wait_event(event)

    def join(self) -> None:
        """The picture's lane waits for the sound's."""
        if self._side is not None:
            torch.cuda.current_stream().wait_stream(self._side)
