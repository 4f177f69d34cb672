"""The comparable loss and the picture of a run."""

from dataclasses import replace

import pytest
import torch

from ltx2core.models.forward import denoise
from ltx2core.train.batch import prepare
from ltx2core.train.conditioning import ConditioningSettings
from ltx2core.train.history import History, StepRecord
from ltx2core.train.loss_plot import COLOURS, SIZE, draw_losses, nice_ticks, smooth
from ltx2core.train.objective import Objective
from ltx2core.train.reference import References
from ltx2core.train.settings import TrainSettings
from ltx2core.train.step import EagerEngine
from ltx2core.train.validate import SIGMAS, ValidationLoss, validation_loss


def test_validation_is_the_mean_over_clips_and_sigmas(model, make_cache, tmp_path):
    cache = make_cache(tmp_path, ({}, {"audio": False}, {}))
    engine, seen = EagerEngine(model, Objective(), torch.device("cpu"), False), []

    def evaluate(inputs):
        seen.append(inputs)
        return engine.evaluate(inputs)

    found = validation_loss(evaluate, cache, 2, Objective(), torch.float32, 3, 5)
    sigmas = [i.video.sigma.item() for i in seen]
    assert sigmas == pytest.approx(list(SIGMAS) * 2) and all(i.audio.sigma.item() == pytest.approx(s) for i, s in zip(seen, sigmas, strict=True))
    losses, zeros = [], []
    for inputs in seen:
        with torch.no_grad():
            video, _ = denoise(model, inputs.video.modality(), inputs.audio.modality())
        losses.append((video - inputs.video.target).pow(2).mean().item())
        zeros.append(inputs.video.target.pow(2).mean().item())
    assert found.video == pytest.approx(sum(losses) / 10, rel=1e-5) and found.zero_video == pytest.approx(sum(zeros) / 10, rel=1e-5)
    assert found.step == 5 and found.zero_audio == pytest.approx(sum(i.audio.target.pow(2).mean().item() for i in seen[:5]) / 5, rel=1e-5)
    assert validation_loss(engine.evaluate, cache, 2, Objective(), torch.float32, 3, 9) == ValidationLoss(9, *list(vars(found).values())[1:])
    assert validation_loss(engine.evaluate, cache, 2, Objective(), torch.float32, 4, 5).video != found.video


def test_without_sound_there_is_no_sound_loss(model, make_cache, tmp_path):
    engine = EagerEngine(model, Objective(), torch.device("cpu"), False)
    found = validation_loss(engine.evaluate, make_cache(tmp_path, ({"audio": False},)), 4, Objective(), torch.float32, 3, 0)
    assert found.audio is None and found.zero_audio is None and found.video > 0


@pytest.mark.parametrize("frozen, given, told", [("frozen_audio", "audio", "video"), ("frozen_video", "video", "audio")])
def test_what_is_always_given_is_given_here_too(frozen, given, told, model, make_cache, tmp_path):
    """Sound to video and video to sound are measured as they are trained; a clip without sound as ever."""
    cache, seen = make_cache(tmp_path, ({}, {"audio": False})), []
    engine = EagerEngine(model, Objective(), torch.device("cpu"), False)

    def evaluate(inputs):
        seen.append(inputs)
        return engine.evaluate(inputs)

    found = validation_loss(evaluate, cache, 1, Objective(), torch.float32, 3, 0, conditioning=ConditioningSettings(**{frozen: 1.0}))
    assert getattr(found, given) is None and getattr(found, told) > 0
    expected = []
    for inputs in seen:
        held, made = getattr(inputs, given), getattr(inputs, told)
        assert held.sigma.item() == 0 and not held.mask.any()
        with torch.no_grad():
            both = denoise(model, inputs.video.modality(), inputs.audio.modality())
        expected.append((both[told == "audio"] - made.target).pow(2).mean().item())
    assert getattr(found, told) == pytest.approx(sum(expected) / 5, rel=1e-5) and [getattr(i, told).sigma.item() for i in seen] == pytest.approx(list(SIGMAS))
    silent = validation_loss(engine.evaluate, replace(cache, clips=cache.clips[1:]), 1, Objective(), torch.float32, 3, 0, conditioning=ConditioningSettings(**{frozen: 1.0}))
    assert silent.video > 0 and silent.audio is None
    half = validation_loss(engine.evaluate, cache, 1, Objective(), torch.float32, 3, 0, conditioning=ConditioningSettings(**{frozen: 0.5}))
    assert half.video > 0 and half.audio > 0


def test_references_are_placed_as_in_training(model, make_cache, tmp_path):
    """A scale that the settings give in place of the one that the lengths say: of a reference that stops early, say."""
    cache = make_cache(tmp_path / "clips", ({"frames": 5},))
    references, seen = References(make_cache(tmp_path / "references", ({"frames": 3},))), []
    engine = EagerEngine(model, Objective(), torch.device("cpu"), False)

    def evaluate(inputs):
        seen.append(inputs.video.coords)
        return engine.evaluate(inputs)

    for conditioning in (ConditioningSettings(), ConditioningSettings(reference_temporal=1)):
        validation_loss(evaluate, cache, 1, Objective(), torch.float32, 3, 0, references, conditioning=conditioning)
        trained = prepare([cache[0]], 0, TrainSettings(conditioning=conditioning), torch.float32, references=[references.latents(cache.clips[0])])
        assert all(torch.equal(coords, trained.video.coords) for coords in seen[-len(SIGMAS) :])
    assert not torch.equal(seen[0], seen[-1])


@pytest.fixture
def history(tmp_path):
    history = History.open(tmp_path / "metrics.jsonl", 0)
    history.add(ValidationLoss(0, 2.0, 1.9, 2.0, 2.0))
    history.add(*(StepRecord(s, 2.0, 2.0 * 0.99**s, 1.0 if s % 2 else None, 0.1, 1e-4) for s in range(1, 101)))
    history.add(ValidationLoss(100, 0.8, 0.9, 2.0, 2.0))
    return history


def test_history_drops_what_lies_beyond_the_checkpoint(history):
    with history.path.open("a", encoding="utf-8") as file:
        file.write('{"event": "step", "step": 101, "lo')
    again = History.open(history.path, 60)
    assert again.steps == history.steps[:60] and again.validation == history.validation[:1]
    assert History.open(history.path, 100).steps == history.steps[:60]


def test_smoothing_is_a_running_mean():
    values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]
    assert smooth(values, 3) == pytest.approx([sum(values[max(0, i - 2) : i + 1]) / len(values[max(0, i - 2) : i + 1]) for i in range(6)])


@pytest.mark.parametrize("top", [0.003, 0.7, 1.0, 4.2, 99.0, 2000.0])
def test_ticks_are_few_and_reach_the_top(top):
    ticks = nice_ticks(top)
    assert 5 <= len(ticks) <= 14 and ticks[0] == 0 and ticks[-1] <= top < ticks[-1] + ticks[1]


def colour_rows(image, colour):
    """x -> mean y of the pixels of one colour."""
    columns = {}
    for y in range(40, SIZE[1]):
        for x in range(SIZE[0]):
            if image.getpixel((x, y)) == colour:
                columns.setdefault(x, []).append(y)
    return {x: sum(ys) / len(ys) for x, ys in columns.items()}


def test_the_picture_shows_the_curves(history):
    image = draw_losses(history)
    assert image.size == SIZE and image.mode == "RGB"
    video, audio = colour_rows(image, COLOURS["video"]), colour_rows(image, COLOURS["audio"])
    left, right = min(video), max(video)
    assert left < 90 and right > 900 and video[left] < video[right] - 100  # falls; the picture's y grows downwards
    assert max(audio.values()) - min(audio.values()) < 4  # constant
    assert {n for n, c in COLOURS.items() if colour_rows(image, c)} == set(COLOURS)


def test_a_picture_of_nothing_is_a_picture(tmp_path):
    assert draw_losses(History.open(tmp_path / "m.jsonl", 0)).size == SIZE
