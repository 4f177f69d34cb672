"""The denoising loop of both modalities together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ..models.forward import BlockInputs, BlockRunner, Forward, Modality, denoise, run_block
from ..models.latents import unpack_audio, unpack_video
from ..protocols import Interrupted, Progress, Reporter, StopSignal
from ..text.features import TextFeatures
from .conditions import State
from .guidance import Guidance, combine
from .settings import SampleSettings


@dataclass(frozen=True)
class Latents:
    """What the wire LTX2_LATENTS carries: video [B, 128, F', H', W'], audio [B, 8, T, 16], normalised, float32.

    ``sound`` is the sound that the video was made for (S2V), to be heard in place of the decoded one; ``pictures`` uint8
    [F, H, W, 3] the video that the sound was made for, to be seen in place of the decoded one.
    """

    video: Tensor
    audio: Tensor
    frame_rate: float
    sound: object | None = None
    pictures: Tensor | None = None


class _ValueOnly:
    """An attention processor that passes the values through: what spatio-temporal guidance compares with."""

    def __call__(self, attn: nn.Module, hidden_states: Tensor, *args, **kwargs) -> Tensor:
        return attn.to_out[1](attn.to_out[0](attn.to_v(hidden_states)))


@contextmanager
def _values_only(block: nn.Module) -> Iterator[None]:
    attentions = (block.attn1, block.audio_attn1)
    processors = [a.processor for a in attentions]
    for attention in attentions:
        attention.processor = _ValueOnly()
    try:
        yield
    finally:
        for attention, processor in zip(attentions, processors, strict=True):
            attention.processor = processor


def perturbed_runner(blocks: tuple[int, ...], run: BlockRunner) -> BlockRunner:
    """``run`` with the self-attentions of ``blocks`` skipped."""

    def runner(index: int, block: nn.Module, hidden: Tensor, audio_hidden: Tensor, inputs: BlockInputs):
        if index not in blocks:
            return run(index, block, hidden, audio_hidden, inputs)
        with _values_only(block):  # the block's own code, whatever runs the others
            return run_block(index, block, hidden, audio_hidden, inputs)

    return runner


def isolated_runner(index: int, block: nn.Module, hidden: Tensor, audio_hidden: Tensor, inputs: BlockInputs):
    """A block without attention between picture and sound."""
    return block(hidden_states=hidden, audio_hidden_states=audio_hidden, use_a2v_cross_attention=False, use_v2a_cross_attention=False, **inputs.arguments())


@dataclass(frozen=True)
class Denoiser:
    """Predicts x0 of both modalities with guidance. run: how a block is run; forward: how a whole pass is."""

    transformer: nn.Module
    positive: TextFeatures
    negative: TextFeatures | None
    video: Guidance
    audio: Guidance
    stg_blocks: tuple[int, ...]
    rule: str
    run: BlockRunner = run_block
    forward: Forward = denoise

    def _predict(self, video: State, audio: State, sigma: Tensor, text: TextFeatures, runner: BlockRunner) -> tuple[Tensor, Tensor]:
        """x0 = x - timestep * velocity, token by token, float32."""

        def modality(state: State, features: Tensor) -> Modality:
            features = features.to(state.tokens.device).expand(state.tokens.shape[0], -1, -1)
            return Modality(state.tokens, state.sigma(sigma), state.coords, features, state.timesteps(sigma))

        v, a = modality(video, text.video), modality(audio, text.audio)
        velocities = self.forward(self.transformer, v, a, av_cross_timestep=self.rule, runner=runner)
        return tuple(
            state.tokens - velocity.float() * m.token_timesteps[..., None] for state, velocity, m in zip((video, audio), velocities, (v, a), strict=True)
        )

    def __call__(self, video: State, audio: State, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Guided x0 of the tokens, with what is given put back in its place."""
        both = (self.video, self.audio)
        predict = lambda text, runner: self._predict(video, audio, sigma, text, runner)  # noqa: E731
        conditional = predict(self.positive, self.run)
        off = (None, None)
        negative = predict(self.negative, self.run) if self.negative is not None and any(g.needs_negative for g in both) else off
        perturbed = predict(self.positive, perturbed_runner(self.stg_blocks, self.run)) if any(g.needs_perturbed for g in both) else off
        isolated = predict(self.positive, isolated_runner) if any(g.needs_isolated for g in both) else off
        results = []
        for i, state in enumerate((video, audio)):
            x0 = combine(both[i], conditional[i], negative[i], perturbed[i], isolated[i])
            results.append(x0 * state.mask + state.clean * (1 - state.mask))
        return tuple(results)


def _euler(state: State, x0: Tensor, sigma: Tensor, following: Tensor) -> State:
    if state.held:
        return state
    return replace(state, tokens=state.tokens + (state.tokens - x0) / sigma * (following - sigma))


def _heun(denoiser: Denoiser, video: State, audio: State, sigma: Tensor, following: Tensor, last: bool) -> tuple[State, State]:
    """Second order: the mean of the slopes at both ends (Heun's method; a ``last`` step to 0 stays Euler)."""
    first = denoiser(video, audio, sigma)
    ahead = [_euler(s, x, sigma, following) for s, x in zip((video, audio), first, strict=True)]
    if last and following == 0:
        return tuple(ahead)
    second = denoiser(*ahead, following)
    moved = []
    for state, there, x, y in zip((video, audio), ahead, first, second, strict=True):
        slope = ((state.tokens - x) / sigma + (there.tokens - y) / following) / 2
        moved.append(state if state.held else replace(state, tokens=state.tokens + slope * (following - sigma)))
    return tuple(moved)


def run_loop(
    denoiser: Denoiser,
    video: State,
    audio: State,
    sigmas: Tensor,
    *,
    sampler: str = "euler",
    reporter: Reporter | None = None,
    stop: StopSignal | None = None,
    preview: Callable[[State, int], object | None] | None = None,
) -> tuple[State, State]:
    """From the first state to the last sigma.

    Raises:
        Interrupted: a person asked to stop between two steps.
    """
    steps = len(sigmas) - 1
    sigmas = sigmas.to(video.tokens.device)
    for i in range(steps):
        if stop is not None and stop.requested():
            raise Interrupted(f"Sampling stopped after {i} of {steps} steps.")
        sigma, following = sigmas[i], sigmas[i + 1]
        if sampler == "heun":
            video, audio = _heun(denoiser, video, audio, sigma, following, i == steps - 1)
        else:
            x0, audio_x0 = denoiser(video, audio, sigma)
            video, audio = _euler(video, x0, sigma, following), _euler(audio, audio_x0, sigma, following)
        if reporter is not None:
            reporter.progress(Progress("sample", i + 1, steps, preview=preview(video, i) if preview else None))
    return video, audio


def to_latents(settings: SampleSettings, video: State, audio: State, sound: object | None = None) -> Latents:
    """Of the clip's own tokens, which come first: those of guides stand behind them."""
    return Latents(unpack_video(video.tokens[:, : settings.tokens], *settings.latent_size), unpack_audio(audio.tokens), settings.frame_rate, sound)
