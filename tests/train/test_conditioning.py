"""What is given clean, by hand-drawn grids; held streams; reference videos in front."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from ltx2core.checkpoint.adapter import save_adapter
from ltx2core.errors import LTX2Error
from ltx2core.models.forward import denoise
from ltx2core.models.latents import video_coords
from ltx2core.train.batch import assemble, draw, prepare
from ltx2core.train.conditioning import Condition, ConditioningSettings, clean_video_tokens, frozen_stream, given_cells
from ltx2core.train.loop import train
from ltx2core.train.objective import Objective
from ltx2core.train.randomness import generator
from ltx2core.train.reference import ReferenceScale, References, find_scale, reference_coords
from ltx2core.train.settings import LoRASettings, RunConfig, TimestepSettings, TrainSettings
from ltx2core.train.step import training_step

SHAPE = (4, 2, 3)


def settings(*conditions, **options):
    return TrainSettings(conditioning=ConditioningSettings(conditions=conditions, **options))


@pytest.mark.parametrize("condition, given", [
    (Condition("first_frame"), lambda f, y, x: f == 0),
    (Condition("prefix", frames=2), lambda f, y, x: f < 2),
    (Condition("suffix", frames=3), lambda f, y, x: f >= 1),
    (Condition("spatial_crop", region=(0, 1, 2, 3)), lambda f, y, x: x >= 1),
    (Condition("mask", region=(1, 0, 2, 2)), lambda f, y, x: not (y == 1 and x < 2)),
])  # fmt: skip
def test_cells_of_each_kind(condition, given):
    grid = given_cells(condition, SHAPE, generator(0))
    assert grid.tolist() == [[[given(f, y, x) for x in range(3)] for y in range(2)] for f in range(4)]


@pytest.mark.parametrize("kind", ["prefix", "suffix", "spatial_crop", "mask"])
def test_random_regions_vary_and_leave_something_to_learn(kind):
    shape, sizes = (9, 8, 12), set()
    for seed in range(60):
        grid = given_cells(Condition(kind), shape, generator(seed))
        sizes.add(grid.sum().item())
        assert 0 < grid.sum() < grid.numel()
        made = ~grid if kind != "spatial_crop" else grid
        where = made.nonzero()
        box = torch.zeros_like(grid)
        box[tuple(slice(int(a), int(b) + 1) for a, b in zip(where.min(0)[0], where.max(0)[0], strict=True))] = True
        assert torch.equal(box, made)  # one box without holes
    assert len(sizes) > 3


def test_given_tokens_are_clean_at_timestep_0_without_loss(make_sample):
    sample = make_sample(1, frames=4, height=2, width=3)
    inputs = prepare([sample], 0, settings(Condition("prefix", frames=1), Condition("mask", region=(0, 0, 1, 1))), torch.float32)
    given = torch.tensor([[f == 0 or (y, x) != (0, 0) for f in range(4) for y in range(2) for x in range(3)]])
    clean = sample.video_latents.float().flatten(1).T[None]
    assert torch.equal(inputs.video.tokens[given], clean[given]) and not torch.isclose(inputs.video.tokens[~given], clean[~given]).all()
    assert torch.equal(inputs.video.timesteps == 0, given) and torch.equal(inputs.video.mask == 0, given)
    assert (inputs.video.timesteps[~given] == inputs.video.sigma).all()


def test_probabilities_and_independence():
    both = (Condition("first_frame", 0.3), Condition("suffix", 0.5, frames=1))
    hits = torch.stack([clean_video_tokens(both, (3, 1, 1), 5, step, 0) for step in range(800)]).float()
    first, last = hits[:, 0], hits[:, 2]
    assert first.mean().item() == pytest.approx(0.3, abs=0.05) and last.mean().item() == pytest.approx(0.5, abs=0.05)
    assert (first * last).mean().item() == pytest.approx(0.15, abs=0.04)
    alone = torch.stack([clean_video_tokens(both[:1], (3, 1, 1), 5, step, 0) for step in range(100)])
    assert torch.equal(alone[:, 0].float(), first[:100])


def test_two_of_a_kind_are_drawn_apart():
    pair = (Condition("prefix", 0.5, frames=1), Condition("prefix", 0.5, frames=2))
    seen = {clean_video_tokens(pair, (4, 1, 1), 1, step, 0).sum().item() for step in range(60)}
    assert seen == {0, 1, 2}


def test_never_the_whole_clip():
    assert not clean_video_tokens((Condition("first_frame"),), (1, 2, 2), 0, 0, 0).any()
    halves = (Condition("prefix", frames=2), Condition("suffix", frames=2))
    assert clean_video_tokens(halves, (4, 1, 1), 0, 0, 0).tolist() == [True, True, False, False]


def test_shares_of_frozen_streams():
    found = [frozen_stream(ConditioningSettings(frozen_audio=0.5, frozen_video=0.2), 3, step, 0) for step in range(1000)]
    assert found.count("audio") / 1000 == pytest.approx(0.5, abs=0.05) and found.count("video") / 1000 == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize("frozen, held, learnt", [("frozen_audio", "audio", "video"), ("frozen_video", "video", "audio")])
def test_a_frozen_stream_is_clean_and_has_no_loss(frozen, held, learnt, make_sample, model):
    sample = make_sample(1)
    inputs = prepare([sample], 0, settings(**{frozen: 1.0}), torch.float32)
    given, made = getattr(inputs, held), getattr(inputs, learnt)
    latents = {"video": sample.video_latents.float().flatten(1).T, "audio": sample.audio_latents.float().transpose(0, 1).flatten(1)}
    assert torch.equal(given.tokens[0], latents[held]) and given.sigma.item() == 0 and not given.mask.any()
    assert made.sigma.item() > 0 and made.mask.all()
    plain = prepare([sample], 0, TrainSettings(), torch.float32)
    assert torch.equal(made.tokens, getattr(plain, learnt).tokens)
    losses = training_step(model, inputs, Objective())
    assert getattr(losses, held).item() == 0 and losses.total.item() == getattr(losses, learnt).item() > 0


def test_a_clip_without_sound_is_never_frozen(make_sample):
    inputs = prepare([make_sample(1, audio=False)], 0, settings(frozen_video=1.0), torch.float32)
    assert inputs.video.sigma.item() > 0 and inputs.video.mask.all()
    shared = TrainSettings(timesteps=TimestepSettings(independent_audio=False), conditioning=ConditioningSettings(frozen_video=1.0))
    assert draw(make_sample(1), shared, 0, 0).audio_sigma.item() > 0


@pytest.mark.parametrize("temporal", [1, 2, 4])
def test_a_reference_lies_where_its_pixels_do(temporal):
    """Reference frame p shows the clip's frame temporal*(p-1)+1, and its first the first; a cell covers 32*spatial pixels."""
    rate, spatial, grid = 25.0, 2, (3, 1, 2)
    coords = reference_coords(1, grid, rate, ReferenceScale(spatial, temporal))[0].unflatten(1, grid)

    def clip_time(p):
        return 0.0 if p == 0 else (temporal * (p - 1) + 1) / rate

    for f in range(3):
        first, behind = (0, 1) if f == 0 else (8 * f - 7, 8 * f + 1)
        assert coords[0, f, 0, 0].tolist() == pytest.approx([clip_time(first), clip_time(behind)])
    assert coords[1, 0, 0, 0].tolist() == [0, 64] and coords[2, 0, 0, 1].tolist() == [64, 128]


def test_scales_are_read_from_the_sizes():
    plain = ConditioningSettings()
    assert find_scale((9, 16, 24), (9, 16, 24), plain) == ReferenceScale(1, 1)
    assert find_scale((9, 16, 24), (3, 8, 12), plain) == ReferenceScale(2, 4)
    assert find_scale((9, 16, 24), (1, 16, 24), plain) == ReferenceScale(1, 1)
    for wrong in ((9, 16, 12), (9, 7, 24), (4, 16, 24)):
        with pytest.raises(LTX2Error, match="does not fit"):
            find_scale((9, 16, 24), wrong, plain)


def test_reference_tokens_stand_in_front(make_sample, model):
    clip, reference = make_sample(1, frames=3, height=2, width=2), make_sample(2, frames=2, height=1, width=1)
    given = [reference.video_latents]
    inputs = prepare([clip], 0, TrainSettings(), torch.float32, references=given)
    plain = prepare([clip], 0, TrainSettings(), torch.float32)
    assert torch.equal(inputs.video.tokens[0, :2], reference.video_latents.float().flatten(1).T) and torch.equal(inputs.video.tokens[:, 2:], plain.video.tokens)
    assert inputs.video.timesteps[0, :2].tolist() == [0, 0] and (inputs.video.timesteps[0, 2:] == plain.video.sigma).all()
    assert inputs.video.mask[0].tolist() == [0, 0] + [1] * 12
    assert torch.equal(inputs.video.coords[:, :, 2:], video_coords(1, 3, 2, 2, 25.0))
    changed = replace(inputs, video=replace(inputs.video, target=inputs.video.target + 9 * (inputs.video.mask == 0)[..., None]))
    assert training_step(model, changed, Objective()).total == training_step(model, inputs, Objective()).total
    with torch.no_grad():
        other = replace(inputs, video=replace(inputs.video, tokens=inputs.video.tokens + (inputs.video.mask == 0)[..., None]))
        outputs = [denoise(model, i.video.modality(), i.audio.modality())[0][:, 2:] for i in (inputs, other)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3  # the clip sees its reference


def test_a_share_of_samples_goes_without(make_sample):
    clip, options = make_sample(1), settings(reference=0.4)
    given = [make_sample(2).video_latents]
    shown = [prepare([clip], step, options, torch.float32, references=given).video.tokens[0, :12].any().item() for step in range(300)]
    assert sum(shown) / 300 == pytest.approx(0.4, abs=0.08)


def test_a_run_with_references_names_their_scale_in_the_file(model, make_cache, tmp_path, surroundings):
    cache = make_cache(tmp_path / "clips", ({"frames": 3, "height": 2, "width": 2}, {"frames": 3, "height": 2, "width": 2}))
    references = References(make_cache(tmp_path / "references", ({"frames": 2, "height": 1, "width": 1},) * 2))
    run = RunConfig(LoRASettings(rank=2, targets="ic"), TrainSettings(steps=2, warmup=0, dtype="float32", validation_clips=1, checkpoint_every=1))
    result = train(run, model, cache, directory=tmp_path / "run", references=references, **surroundings)
    with safe_open(save_adapter(tmp_path / "a.safetensors", result.adapter), framework="pt") as file:
        metadata = file.metadata()
    # The names that Lightricks' own loader and ComfyUI read, and the one that Lightricks' trainer writes as well.
    assert all(metadata[f"reference_{name}_factor"] == "2" for name in ("downscale", "spatial_scale", "temporal_scale"))
    with pytest.raises(LTX2Error, match="references was"):
        train(run, model, cache, directory=tmp_path / "run", **surroundings)
    few = References(make_cache(tmp_path / "few", ({"frames": 2, "height": 1, "width": 1},)))
    with pytest.raises(LTX2Error, match="1.mp4 has no reference video"):
        train(run, model, cache, directory=tmp_path / "run2", references=few, **surroundings)


def test_conditions_survive_json():
    run = RunConfig(train=settings(Condition("mask", 0.5, region=(0, 0, 4, 4)), frozen_audio=0.25))
    assert RunConfig.from_dict(json.loads(json.dumps(run.to_dict()))) == run


@pytest.mark.parametrize("make, message", [
    (lambda: Condition("frame"), "condition kind is 'frame'"), (lambda: Condition("mask", 2), "probability of mask"),
    (lambda: Condition("mask", region=(4, 0, 2, 2)), "region of mask"), (lambda: Condition("prefix", frames=-1), "frames of prefix"),
    (lambda: ConditioningSettings(frozen_audio=0.7, frozen_video=0.7), "exclude each other"),
    (lambda: TrainSettings(audio_weight=0, conditioning=ConditioningSettings(frozen_video=0.1)), "frozen_video leaves only the sound"),
])  # fmt: skip
def test_bad_values_are_named(make, message):
    with pytest.raises(LTX2Error, match=message):
        make()


def test_clips_and_references_of_several_shapes_are_refused(make_sample):
    clips = [make_sample(1), make_sample(2)]
    draws = [draw(c, TrainSettings(), 0, i) for i, c in enumerate(clips)]
    with pytest.raises(LTX2Error, match="reference latents of 2 shapes"):
        assemble(clips, draws, torch.float32, [clips[0].video_latents, make_sample(3, frames=2).video_latents])
