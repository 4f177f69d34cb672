"""One denoising run of two states on whatever device there is: what every way of sampling ends in."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LTX2Error
from ..memory.passes import forward_passes
from ..memory.sampling import placed, sampling_runner
from ..models.handle import Models
from ..protocols import Reporter, Residency, StopSignal
from ..text.features import TextFeatures
from .adapters import adapter_bytes, applied
from .conditions import State
from .guidance import warnings
from .loop import Denoiser, run_loop
from .published import preset_of
from .settings import SampleSettings
from .sigmas import schedule

# Bytes that one token needs beside the weights in a forward pass of the 19B (bf16, the feed-forward's 4 x 4096 wide).
_BYTES_PER_TOKEN = 8 * 4 * 4096


def _features(features: TextFeatures, models: Models, device: torch.device) -> TextFeatures:
    return TextFeatures(features.video.to(device, models.dtype), features.audio.to(device, models.dtype))


def _preset_warnings(models: Models, settings: SampleSettings) -> list[str]:
    """A sentence for each applied adapter that was made for other settings."""
    presets = [(a.name, preset_of(a.name)) for a, strength in models.adapters if strength != 0]
    return [f"{name} is made for {p}; set these, or wire the sample settings through Apply Adapters." for name, p in presets if p.apply(settings) != settings]


def run_states(
    models: Models, settings: SampleSettings, positive: TextFeatures, negative: TextFeatures | None, video: State, audio: State,
    *, residency: Residency, reporter: Reporter, stop: StopSignal, sigmas: Tensor | None = None,
) -> tuple[State, State]:  # fmt: skip
    """Both states at the last sigma.

    Args:
        settings: their guidance, sampler and rule; the schedule too where ``sigmas`` [steps + 1] are not given.

    Raises:
        LTX2Error: guidance without a negative prompt, an adapter that does not fit.
        Interrupted: a person asked to stop.
    """
    guidance = settings.guidance()
    for text in warnings(guidance[0], settings.schedule == "distilled"):
        reporter.message(text, "warning")
    if negative is None and any(g.needs_negative for g in guidance):
        raise LTX2Error("Guidance other than 1 needs a negative prompt; wire one (it may be empty), or set both scales to 1.")
    for text in () if sigmas is not None else _preset_warnings(models, settings):
        reporter.message(text, "warning")
    transformer, device = models.component("transformer"), residency.device
    blocks = (min(settings.stg_block, len(transformer.transformer_blocks) - 1),)
    working = video.tokens.shape[0] * video.tokens.shape[1] * _BYTES_PER_TOKEN + adapter_bytes(models.adapters, models.dtype)
    with (
        torch.no_grad(), placed(models, residency, reporter, working) as transformer, applied(transformer, models.adapters, device=device, dtype=models.dtype),
        sampling_runner(transformer) as run, forward_passes(run, device, guidance) as forward,
    ):  # fmt: skip
        denoiser = Denoiser(
            transformer, _features(positive, models, device), None if negative is None else _features(negative, models, device),
            *guidance, blocks, settings.av_cross_timestep, run, forward,
        )  # fmt: skip
        if sigmas is None:
            sigmas = schedule(settings.schedule, settings.steps, settings.tokens)
        return run_loop(denoiser, video, audio, sigmas, sampler=settings.sampler, reporter=reporter, stop=stop)
