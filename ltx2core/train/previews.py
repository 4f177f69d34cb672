"""Clips made with the adapter while it is trained, by the samplers that a person uses. Training is not changed by them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from ..protocols import Interrupted

if TYPE_CHECKING:
    from .session import Session


class Preview(Protocol):
    def __call__(self, step: int, model: nn.Module) -> None:
        """Make the previews of optimizer step ``step`` with the live ``model``, the adapter inside, in eval mode.

        May raise anything: the loop says so and goes on. It must not move ``model``.
        """
        ...


@contextmanager
def off_device(tensors: list[torch.Tensor]) -> Iterator[None]:
    """``tensors`` lie in host memory inside the block; the objects stay the same."""
    places = [t.device for t in tensors]
    for tensor in tensors:
        tensor.data = tensor.data.to("cpu")
    try:
        yield
    finally:
        for tensor, place in zip(tensors, places, strict=True):
            tensor.data = tensor.data.to(place)


def run_preview(preview: Preview, session: Session) -> None:
    """Call ``preview`` with the weights that are exported; an error becomes a warning, and random numbers go on as before."""
    model, device = session.lora.model, session.device
    training = model.training
    devices = [device.index or 0] if device.type == "cuda" else []
    model.eval()
    try:
        with (
            torch.random.fork_rng(devices=devices), torch.no_grad(), session.ema.applied() if session.ema else nullcontext(),
            off_device(session.optimizer.movable()), session.engine.plain_blocks(),
        ):  # fmt: skip
            preview(session.step, model)
    except Interrupted:
        session.reporter.message(f"The preview at step {session.step} was left out, since training was asked to stop.", "warning")
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a preview, hours of training go on
        session.reporter.message(f"The preview at step {session.step} failed ({type(error).__name__}: {error}); training goes on.", "warning")
    finally:
        model.train(training)
        if device.type == "cuda":
            torch.cuda.empty_cache()
