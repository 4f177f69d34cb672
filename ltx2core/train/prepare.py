"""What has to hold before a run begins."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from ..errors import LTX2Error
from ..protocols import Reporter
from .audio_only import check_audio_only, check_pictures
from .crepa import check_crepa
from .data import RunData
from .settings import RunConfig
from .targets import Targets
from .trackers import check_trackers
from .tread import resolve_routes


def own_tensors(model: nn.Module) -> None:
    """Tensors made in inference mode can't take part in autograd: replace them by copies."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_inference():
                module._parameters[name] = nn.Parameter(parameter.clone(), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_inference():
                module._buffers[name] = buffer.clone()


def without_picture_methods(run: RunConfig, reporter: Reporter) -> RunConfig:
    """``run`` as it is carried out: of sound alone there is no picture for TREAD and CREPA, so they are switched off, which is said."""
    used = [name for name, on in (("TREAD", run.train.tread), ("CREPA", run.train.crepa)) if on]
    if not run.train.audio_only or not used:
        return run
    reporter.message(f"Sound is trained alone, without a picture to act on, so these are switched off: {', '.join(used)}.", "warning")
    return replace(run, train=replace(run.train, tread=(), crepa=None))


def check_methods(run: RunConfig, model: nn.Module, data: RunData, targets: Targets) -> None:
    """Raises LTX2Error when a method does not fit the model, the clips or the layers, or a tracker is missing."""
    check_trackers(run.train.tracking.trackers)
    layers = len(model.transformer_blocks)
    spans = resolve_routes(run.train.tread, layers)
    if run.train.crepa is not None:
        check_crepa(run.train.crepa, layers, spans)
    if run.train.audio_only:
        if data.references is not None:
            raise LTX2Error("Sound is trained alone, and reference videos belong to the picture; switch audio_only off, or leave the references out.")
        check_audio_only(data.training, targets.modules)
    else:
        check_pictures(data.training.clips)
