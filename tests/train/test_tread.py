"""Token routing against each block run by hand on the tokens that go through."""

from dataclasses import replace

import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.models.forward import BlockInputs, denoise, prepare_blocks, run_block, run_block_checkpointed
from ltx2core.train.batch import prepare
from ltx2core.train.conditioning import Condition, ConditioningSettings
from ltx2core.train.loop import train
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.step import EagerEngine, training_step
from ltx2core.train.targets import preset_modules
from ltx2core.train.tread import TreadRoute, TreadRunner, kept_tokens, resolve_routes
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.models.build import load_transformer
from ltx2core.tiny import TinySize, write_tiny_checkpoint

ROUTE = TreadRoute(0.5, 1, 2)


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Four blocks."""
    size = TinySize(layers=4, heads=2, head_dim=16, audio_head_dim=8, caption_channels=32)
    return load_transformer(open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("deep") / "t.safetensors", size)), dtype=torch.float32)


def settings(*conditions, **options):
    return TrainSettings(tread=(ROUTE,), conditioning=ConditioningSettings(conditions=conditions), **options)


def only(inputs, sample, ids):
    """A block's inputs for some tokens of one sample, cut out one by one."""
    video = {
        "temb": (0,), "temb_ca_scale_shift": (0,), "temb_ca_gate": (0,), "video_rotary_emb": None, "ca_video_rotary_emb": None,
    }  # fmt: skip
    values = {}
    for name, value in vars(inputs).items():
        pick = value is not None and name in video
        if isinstance(value, tuple):
            values[name] = tuple(torch.stack([v[sample, :, i] for i in ids], 1)[None] if pick else v[sample : sample + 1] for v in value)
        elif pick and value.shape[1] > 1:
            values[name] = torch.stack([value[sample, i] for i in ids])[None]
        else:
            values[name] = None if value is None else value[sample : sample + 1]
    return BlockInputs(**values)


@pytest.mark.parametrize("rule", ["official", "cross", "legacy"])
@pytest.mark.parametrize("conditions", [(), (Condition("prefix", frames=1),)])
def test_routed_blocks_see_their_own_tokens_timesteps_and_places(conditions, rule, deep, make_sample):
    """Per-sample and per-token timesteps; every sample has its own choice."""
    inputs = prepare([make_sample(1), make_sample(2)], 0, settings(*conditions), torch.float32)
    video, audio = inputs.video.modality(), inputs.audio.modality()
    with torch.no_grad():
        routed = denoise(deep, video, audio, av_cross_timestep=rule, runner=TreadRunner(run_block, ((1, 2),), inputs.routes))
        # Compared with the modulation formed token by token.
        by_token = replace(video, noisy=None, timesteps=inputs.video.timesteps)
        blocks, _, _ = prepare_blocks(deep, by_token, audio, rule, torch.float32)
        for sample in range(2):
            ids = inputs.routes[0][sample].tolist()
            assert len(ids) == 6 and sorted(set(ids)) == ids
            h, a = deep.proj_in(video.tokens)[sample : sample + 1], deep.audio_proj_in(audio.tokens)[sample : sample + 1]
            all_tokens, some = only(blocks, sample, range(12)), only(blocks, sample, ids)
            h, a = run_block(0, deep.transformer_blocks[0], h, a, all_tokens)
            part = torch.stack([h[0, i] for i in ids])[None]
            for i in (1, 2):
                part, a = run_block(i, deep.transformer_blocks[i], part, a, some)
            for place, i in enumerate(ids):
                h[0, i] = part[0, place]
            h, a = run_block(3, deep.transformer_blocks[3], h, a, all_tokens)
            seen = []
            denoise(deep, video, audio, av_cross_timestep=rule, runner=TreadRunner(lambda *x, s=seen: s.append(x) or run_block(*x), ((1, 2),), inputs.routes))
            _, _, before, audio_before, last = seen[3]
            theirs = run_block(3, deep.transformer_blocks[3], before, audio_before, last)
            assert torch.allclose(theirs[0][sample], h[0], atol=1e-5) and torch.allclose(theirs[1][sample], a[0], atol=1e-5)
            assert [x[2].shape[1] for x in seen] == [12, 6, 6, 12]
        plain = denoise(deep, video, audio, av_cross_timestep=rule)
    assert (plain[0] - routed[0]).abs().max() > 1e-3


def test_gradients_flow_through_both_ways(deep, make_sample):
    """With and without recomputing; the skipped tokens' loss still reaches the first block."""
    inputs = prepare([make_sample(1)], 0, settings(Condition("prefix", frames=1)), torch.float32)
    objective, found = Objective.of(settings()), []
    for runner in (run_block, run_block_checkpointed):
        with injected(deep, LoRASettings(rank=2), preset_modules("video", 4), 0, torch.float32) as lora:
            training_step(deep, inputs, objective, runner).total.backward()
            found.append([p.grad.clone() for n, p in lora.parameters.items() if "lora_B" in n])
    assert all(torch.allclose(a, b, atol=1e-6) and a.abs().max() > 0 for a, b in zip(*found, strict=True))


def test_validation_is_not_routed(deep, make_sample):
    inputs = prepare([make_sample(1)], 0, settings(), torch.float32)
    engine = EagerEngine(deep, Objective.of(settings()), torch.device("cpu"), False)
    plain = engine.evaluate(replace(inputs, routes=()))
    assert plain.total == EagerEngine(deep, Objective(), torch.device("cpu"), False).evaluate(replace(inputs, routes=())).total
    assert plain.total != engine.evaluate(inputs).total


def test_choice_is_uniform_and_keeps_what_is_given():
    hits = torch.zeros(10)
    for step in range(600):
        hits[kept_tokens(TreadRoute(0.3), 10, None, 1, step)] += 1
    assert torch.allclose(hits / 600, torch.tensor(0.7), atol=0.07)
    given = torch.tensor([False] * 7 + [True] * 3)
    chosen = [set(kept_tokens(TreadRoute(0.5), 10, given, 1, step).tolist()) for step in range(200)]
    assert all({7, 8, 9} < c and len(c) == 5 for c in chosen) and len({frozenset(c) for c in chosen}) == 7 * 6 / 2


@pytest.mark.parametrize("given", [50, 88, 99])
def test_what_is_made_goes_through_however_much_is_given(given):
    """Of a clip that is half or mostly given, tokens that are made have at least half of the share that all have without."""
    made, hits = 100 - given, torch.zeros(100)
    mask = torch.arange(100) >= made
    for step in range(300):
        ids = kept_tokens(TreadRoute(0.5), 100, mask, 1, step)
        assert len(ids) == 50 and (ids < made).sum() >= made * 0.5 / 2
        hits[ids] += 1
    assert hits[:made].min() > 0 and hits[:made].max() - hits[:made].min() < 60


def test_a_reference_goes_through_whole(deep, make_sample):
    """As large as its clip: half of the clip's own tokens go on behind it, whatever is given of the clip."""
    samples, references = [make_sample(1), make_sample(2)], [make_sample(s).video_latents for s in (3, 4)]
    for conditions in ((), (Condition("first_frame", 0.5),)):
        inputs = prepare(samples, 1, settings(*conditions), torch.float32, references=references)
        [ids] = inputs.routes
        assert ids.shape == (2, 18) and all(row[:12].tolist() == list(range(12)) and row[12:].min() >= 12 and len(set(row.tolist())) == 18 for row in ids)
        assert not torch.equal(*ids)
        losses = training_step(deep, inputs, Objective.of(settings()))
        assert losses.total.isfinite()


def test_routes_are_checked():
    assert resolve_routes((TreadRoute(),), 48) == ((2, 46),)
    assert resolve_routes((TreadRoute(0.5, 0, 3), TreadRoute(0.2, 4, -1)), 8) == ((0, 3), (4, 7))
    for routes, message in (((TreadRoute(0.5, 5, 3),), "does not lie"), ((TreadRoute(0.5, 0, 8),), "does not lie"), ((TreadRoute(0.5, 0, -9),), "does not lie"),
                            ((TreadRoute(0.5, 0, 3), TreadRoute(0.5, 3, 5)), "overlaps"), ((TreadRoute(0.5, 4, 5), TreadRoute(0.5, 0, 2)), "overlaps")):  # fmt: skip
        with pytest.raises(LTX2Error, match=message):
            resolve_routes(routes, 8)
    with pytest.raises(LTX2Error, match="selection_ratio"):
        TreadRoute(1.0)


def test_a_run_with_routes(deep, make_cache, tmp_path, surroundings):
    run = RunConfig(LoRASettings(rank=2, targets="video"), settings(steps=2, warmup=0, dtype="float32", validation_clips=1))
    result = train(run, deep, make_cache(tmp_path / "cache"), directory=tmp_path / "run", **surroundings)
    assert result.steps == 2
    bad = replace(run, train=replace(run.train, tread=(TreadRoute(0.5, 2, 9),)))
    with pytest.raises(LTX2Error, match="model of 4 blocks"):
        train(bad, deep, make_cache(tmp_path / "cache"), directory=tmp_path / "other", **surroundings)
