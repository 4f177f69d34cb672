"""A device that ran out of memory, said in a sentence for a person: what was in use, and what to try in which order."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ..errors import LTX2Error

GIB = 2**30
ADVICE = (
    "Try, in this order: a smaller width and height; fewer frames, 49 or 33; all blocks streamed, in Memory Settings when training "
    "(sampling streams by itself where it knows that it must: close other programs that use the card)."
)


def in_use(device: torch.device) -> str:
    """"NVIDIA … has 79.2 GiB, of which 78.9 were in use, 77.1 by this program"; empty where the device does not tell."""
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    own = torch.cuda.memory_reserved(device)
    return f"{torch.cuda.get_device_name(device)} has {total / GIB:.1f} GiB, of which {(total - free) / GIB:.1f} were in use, {own / GIB:.1f} by this program"


def sentence(device: torch.device, describe: Callable[[torch.device], str] = in_use) -> str:
    used = describe(device)
    return f"The device ran out of memory{f': {used}' if used else ''}. {ADVICE}"


@contextmanager
def exhaustion_told(device: torch.device, free: Callable[[], None] = lambda: None, describe: Callable[[torch.device], str] = in_use) -> Iterator[None]:
    """Inside, running out of memory becomes an :class:`LTX2Error`; what lay on the device because of it is let go, then ``free`` called.

    Raises:
        LTX2Error: the device has no memory left.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        text = sentence(device, describe)
        # The frames of the failed work hold its tensors, and this error hangs on to the next one.
        traceback.clear_frames(error.__traceback__)
        free()
        raise LTX2Error(text) from None
