"""Clips made with the adapter while it is trained, by the samplers that a person uses. Training is not changed by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from ..protocols import Interrupted

if TYPE_CHECKING:
    from .session import Session


class Preview(Protocol):
    """Some clips, by name."""

    @property
    def names(self) -> Sequence[str]: ...

    def make(self, name: str, step: int, model: nn.Module) -> None:
        """Make one of them at optimizer step ``step`` with the live ``model``, the adapter inside, in eval mode.

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


def run_previews(previews: Preview, session: Session) -> None:
    """Make all, with the weights that are exported. An error becomes a warning, and random numbers go on as before."""
    model, device = session.lora.model, session.device
    training = model.training
    devices = [device.index or 0] if device.type == "cuda" else []
    model.eval()
    try:
        # An error in bringing the run's own state back is no preview's and is not passed over.
        with (
            torch.random.fork_rng(devices=devices), torch.no_grad(), session.ema.applied() if session.ema else nullcontext(),
            off_device(session.optimizer.movable()),
        ):  # fmt: skip
            _make_all(previews, session)
    finally:
        model.train(training)
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _make_all(previews: Preview, session: Session) -> None:
    step, tell = session.step, session.reporter.message
    try:
        with session.engine.plain_blocks():
            for name in previews.names:
                _make(previews, name, session)
    except Interrupted:
        tell(f"Previews at step {step} are left out, since training was asked to stop.", "warning")
    except Exception as error:  # noqa: BLE001 - an engine that cannot lend its blocks
        tell(f"Previews at step {step} failed ({type(error).__name__}: {error}); training goes on.", "warning")


def _make(previews: Preview, name: str, session: Session) -> None:
    """One of them; the next ones are made whatever becomes of it."""
    try:
        previews.make(name, session.step, session.lora.model)
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a preview, hours of training go on
        session.reporter.message(f"The preview {name} at step {session.step} failed ({type(error).__name__}: {error}); training goes on.", "warning")
