"""What has to hold before a run begins."""

from __future__ import annotations

from torch import nn

from ..cache.dataset import DatasetCache
from .audio_only import check_audio_only, check_pictures
from .crepa import check_crepa
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


def check_methods(run: RunConfig, model: nn.Module, cache: DatasetCache, targets: Targets) -> None:
    """Raises LTX2Error when a method does not fit the model, the clips or the layers, or a tracker is missing."""
    check_trackers(run.train.tracking.trackers)
    layers = len(model.transformer_blocks)
    spans = resolve_routes(run.train.tread, layers)
    if run.train.crepa is not None:
        check_crepa(run.train.crepa, layers, spans)
    if run.train.audio_only:
        check_audio_only(cache, targets.modules)
    else:
        check_pictures(cache)
