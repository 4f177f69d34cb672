"""Forward passes that are replayed on a card give what passes give that are launched kernel by kernel."""

import pytest
import torch

from benchmarks.compare import relative_error
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.fused.runner import FusedRunner
from ltx2core.memory.passes import CapturedPasses, forward_passes
from ltx2core.memory.sampling import sampling_runner
from ltx2core.models.build import load_transformer
from ltx2core.models.forward import denoise
from ltx2core.sample.conditions import Keyframe, audio_state, video_state
from ltx2core.sample.guidance import Guidance
from ltx2core.sample.loop import Denoiser, run_loop
from ltx2core.sample.settings import SampleSettings
from ltx2core.sample.sigmas import schedule
from ltx2core.text.features import TextFeatures
from ltx2core.tiny import write_tiny_checkpoint

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
CARD = torch.device("cuda")


def random(seed, *shape):
    return torch.randn(*shape, device=CARD, generator=torch.Generator(CARD).manual_seed(seed))


def test_passes_are_launched_where_guidance_runs_blocks_in_another_way_and_where_capturing_fails(tmp_path, monkeypatch):
    file = open_checkpoint(write_tiny_checkpoint(tmp_path / "tiny.safetensors"))
    model, settings, found = load_transformer(file, dtype=torch.float32).to(CARD).requires_grad_(False), SampleSettings(frames=9, height=64, width=96, steps=4), []
    texts = [TextFeatures(*(random(i, 1, 16, 64) for _ in range(2))) for i in (1, 2)]
    with torch.no_grad(), sampling_runner(model) as run, forward_passes(run, CARD) as failing:
        with forward_passes(run, CARD, (Guidance(stg=1.0), Guidance())) as launched:
            assert launched is denoise

        def waits(*_, **__):
            torch.cuda.synchronize()  # no graph may hold that
            raise AssertionError("a wait was captured")

        monkeypatch.setattr(FusedRunner, "_shared_of", (lambda own: lambda *a: waits() if torch.cuda.is_current_stream_capturing() else own(*a))(FusedRunner._shared_of))
        for forward in (denoise, failing):
            states = video_state(settings, random(0, 1, 128, *settings.latent_size)), audio_state(random(0, 1, 8, 9, 16))
            denoiser = Denoiser(model, *texts, Guidance(3.0), Guidance(2.0), (0,), "official", run, forward)
            found.append(run_loop(denoiser, *states, schedule("official", 4, settings.tokens))[0].tokens)
        assert not failing._capture and torch.cuda.current_stream() == torch.cuda.default_stream()
    assert relative_error(*found) <= 1e-4


@pytest.mark.parametrize("given", [False, True])
def test_replayed_equals_launched(tmp_path, given):
    """Guided steps of two sizes in turn, in full precision; where a first frame is given, each token has a timestep of its own."""
    file = open_checkpoint(write_tiny_checkpoint(tmp_path / "tiny.safetensors"))
    model, found = load_transformer(file, dtype=torch.float32).to(CARD).requires_grad_(False), {}
    texts = [TextFeatures(*(random(i, 1, 16, 64) for _ in range(2))) for i in (1, 2)]
    with torch.no_grad(), sampling_runner(model) as run, forward_passes(run, CARD) as replayed:
        assert isinstance(replayed, CapturedPasses)
        for way, forward in (("launched", denoise), ("replayed", replayed)):
            denoiser = Denoiser(model, *texts, Guidance(3.0), Guidance(2.0), (0,), "official", run, forward)
            for seed, height in enumerate((64, 96, 64)):
                settings = SampleSettings(frames=9, height=height, width=96, steps=4)
                keys = (Keyframe(random(10, 1, 128, 1, height // 32, 3)),) if given else ()
                states = video_state(settings, random(seed, 1, 128, *settings.latent_size), keys), audio_state(random(seed, 1, 8, 9, 16))
                states = run_loop(denoiser, *states, schedule("official", 4, settings.tokens))
                found.setdefault(way, []).extend(state.tokens for state in states)
        assert len(replayed._passes) == 2 and all(replayed._passes.values())
    torch.cuda.synchronize()
    assert all(tokens.isfinite().all() for tokens in found["launched"])
    for ours, theirs in zip(found["replayed"], found["launched"], strict=True):
        assert relative_error(ours, theirs) <= 1e-4
    assert relative_error(found["replayed"][4], found["replayed"][0]) > 0.1  # a replay reads its own inputs
