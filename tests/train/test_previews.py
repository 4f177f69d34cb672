"""Previews made while a run trains: real films by the person's samplers, and nothing in the run changes by them."""

from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from ltx2core.checkpoint.adapter import load_adapter, save_adapter
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.errors import LTX2Error
from ltx2core.media.audio import Waveform
from ltx2core.media.write import write_video
from ltx2core.memory.training import train_lora
from ltx2core.models.handle import Models
from ltx2core.protocols import Interrupted
from ltx2core.sample.decode import decode
from ltx2core.sample.given import Given, Picture
from ltx2core.sample.modes import image_to_video, text_to_video
from ltx2core.sample.reference import Reference, reference_to_video
from ltx2core.sample.settings import SampleSettings
from ltx2core.standalone import ConsoleReporter, StopFlag
from ltx2core.text.features import TextFeatures
from ltx2core.train import preview_clips
from ltx2core.train.conditioning import ConditioningSettings
from ltx2core.train.loop import train
from ltx2core.train.optim import make_optimizer
from ltx2core.train.preview_clips import Holding, PreviewJob
from ltx2core.train.previews import off_device
from ltx2core.train.reference import ReferenceScale
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.step import EagerEngine

RUN = RunConfig(
    LoRASettings(rank=2, dropout=0.2),
    TrainSettings(steps=4, learning_rate=3e-2, warmup=0, checkpoint_every=0, validate_every=0, validation_clips=1, dtype="float32", caption_dropout=0.3, ema_decay=0.5),
)  # fmt: skip
SMALL = SampleSettings(width=96, height=64, frames=9, steps=2, video_cfg=3.0, seed=3)


class Listener(ConsoleReporter):
    def __init__(self):
        super().__init__(quiet=True)
        self.previews, self.pictures, self.said = [], [], []

    def progress(self, event):
        if event.preview is not None:
            self.pictures.append((event.stage, event.preview.size))

    def preview(self, event):
        self.previews.append((event.run, event.step, event.file))

    def message(self, text, level="info"):
        self.said.append((level, text))


@pytest.fixture
def models(tiny_file):
    return Models(open_checkpoint(tiny_file), torch.float32)


def features(seed):
    generator = torch.Generator().manual_seed(seed)
    return TextFeatures(*(torch.randn(1, 8, 32, generator=generator).bfloat16() for _ in range(2)))


def jobs():
    picture = torch.randint(0, 256, (1, 40, 80, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sound = Waveform(torch.rand(2, 48000, generator=torch.Generator().manual_seed(1)) - 0.5, 48000)
    made = PreviewJob("text", features(0), features(1), SMALL), PreviewJob("image", features(0), features(1), SMALL, image=picture)
    return [*made, PreviewJob("sound", features(0), features(1), SMALL, sound=sound)]


def frames_of(path):
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def losses(result):
    return [(r.loss, r.gradient_norm) for r in result.history.steps]


@pytest.fixture
def cache(tmp_path, make_cache):
    return make_cache(tmp_path / "cache")


def test_films_lie_in_the_run_s_folder_and_the_run_is_the_same(models, cache, tmp_path, surroundings):
    plain = train_lora(models, RUN, cache, directory=tmp_path / "plain", name="a", **surroundings)
    run, listener = replace(RUN, train=replace(RUN.train, preview_every=3)), Listener()
    state = torch.random.get_rng_state()
    seen = train_lora(models, run, cache, directory=tmp_path / "seen", name="fox", previews=jobs(), **{**surroundings, "reporter": listener})
    assert torch.equal(torch.random.get_rng_state(), state)
    assert losses(seen) == losses(plain) and seen.validation == plain.validation
    for name, layer in plain.adapter.layers.items():
        assert all(torch.equal(a, b) for a, b in zip(layer, seen.adapter.layers[name], strict=True))
    files = [f"previews/step-{step:06d}-{name}.mp4" for step in (0, 3, 4) for name in ("text", "image", "sound")]
    assert listener.previews == [("fox", int(f[14:20]), f) for f in files] and len(listener.pictures) == 9
    assert all(frames_of(tmp_path / "seen" / f).shape == (9, 64, 96, 3) for f in files)
    with av.open(str(tmp_path / "seen" / files[2])) as container:
        assert len(container.streams.audio) == 1
    # It learned: the same seed shows another picture later.
    assert not np.array_equal(frames_of(tmp_path / "seen" / files[0]), frames_of(tmp_path / "seen" / files[3]))


def test_a_preview_shows_what_the_written_adapter_shows(models, cache, tmp_path, surroundings):
    run = replace(RUN, train=replace(RUN.train, preview_every=2))
    part = train_lora(models, run, cache, directory=tmp_path / "run", name="a", previews=jobs()[:1], until=2, **surroundings)
    services = surroundings
    for strength, file in ((0.0, "step-000000-text.mp4"), (1.0, "step-000002-text.mp4")):
        latents = text_to_video(models.with_adapters((part.adapter, strength)), SMALL, features(0), features(1), **services)
        frames = decode(latents, models, residency=services["residency"])[0].frames
        expected = frames_of(write_video(tmp_path / f"{strength}.mp4", frames, SMALL.frame_rate)).astype(float)
        found = frames_of(tmp_path / "run" / "previews" / file).astype(float)
        wrong = frames_of(tmp_path / "run" / "previews" / ("step-000002-text.mp4" if strength == 0 else "step-000000-text.mp4")).astype(float)
        assert np.abs(found - expected).mean() < 0.1 * np.abs(wrong - expected).mean()


PAIR = SampleSettings(width=64, height=64, frames=17, steps=2, video_cfg=1.0, audio_cfg=1.0, seed=3)


@pytest.fixture
def pairs(tmp_path, make_cache):
    """Clips, and references of half their sides and length."""
    return make_cache(tmp_path / "clips", ({"frames": 3, "height": 2, "width": 2},) * 2), make_cache(tmp_path / "references", ({"frames": 2, "height": 1, "width": 1},) * 2)


def test_a_preview_follows_its_reference_as_the_exported_adapter_does(models, pairs, tmp_path, surroundings, monkeypatch):
    """Against a sampling with the written file, whose metadata say the scale, beside the same picture."""
    made, listener = [], Listener()
    monkeypatch.setattr(preview_clips, "decode", lambda latents, *args, **kwargs: made.append(latents) or decode(latents, *args, **kwargs))
    reference = Reference(torch.randint(0, 256, (17, 48, 80, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5)))
    blind = PreviewJob("blind", features(0), settings=PAIR, image=jobs()[1].image)
    run = replace(RUN, lora=LoRASettings(rank=2, targets="ic"), train=replace(RUN.train, steps=2, ema_decay=0.0, preview_every=2))
    films, common = (replace(blind, name="followed", reference=reference), blind), {"name": "a", "references": pairs[1], **surroundings, "reporter": listener}
    result = train_lora(models, run, pairs[0], directory=tmp_path / "run", previews=films, **common)
    assert [text for level, text in listener.said if level == "warning" and "reference" in text] == [
        "Previews without a reference video (blind) show the model without what it is trained to follow; give each of them a reference."
    ]
    file = load_adapter(save_adapter(tmp_path / "ic.safetensors", result.adapter, torch.float32), "2.0")
    assert file.metadata["reference_downscale_factor"] == file.metadata["reference_temporal_scale_factor"] == "2"
    given, on = Given((Picture(blind.image),)), models.with_adapters((file, 1.0))
    expected = reference_to_video(on, PAIR, reference, features(0), None, given, **surroundings).video
    base = reference_to_video(models, PAIR, reference, features(0), None, given, scale=ReferenceScale(2, 2), **surroundings).video
    start, start_blind, end, end_blind = (latents.video for latents in made)
    torch.testing.assert_close(end, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(start, base, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(end_blind, image_to_video(on, PAIR, blind.image, features(0), **surroundings).video, rtol=1e-4, atol=1e-4)
    assert min((end - other).abs().max() for other in (end_blind, start)) > 0.01 and (start - start_blind).abs().max() > 0.01


def test_a_reference_that_cannot_be_followed_is_refused_first(models, pairs, tmp_path, surroundings):
    run = replace(RUN, train=replace(RUN.train, preview_every=2))
    unseen = replace(run, train=replace(run.train, conditioning=ConditioningSettings(reference=0.0)))
    for chosen, references, frames, said in (
        (run, None, 17, "preview x has a reference video and the run shows the model none"), (unseen, pairs[1], 17, "the run shows the model none"),
        (run, pairs[1], 16, "preview x: The reference video has 16 frames and the clip needs 17"),
    ):  # fmt: skip
        job = PreviewJob("x", features(0), settings=PAIR, reference=Reference(torch.zeros(frames, 64, 64, 3, dtype=torch.uint8)))
        with pytest.raises(LTX2Error, match=said):
            train_lora(models, chosen, pairs[0], directory=tmp_path / "run", name="a", references=references, previews=[job], **surroundings)
    assert not (tmp_path / "run").exists()


class Broken:
    """Previews of which one fails, one moves the random numbers and one asks to stop."""

    def __init__(self, stop=None):
        self.stop, self.seen = stop, []

    @property
    def names(self):
        return ("bad", "good")

    def make(self, name, step, model):
        torch.rand(7)
        self.seen.append((name, step, model.training))
        if self.stop is not None and step == 2:
            self.stop.stopped = True
            raise Interrupted("stopped inside")
        if name == "bad":
            raise MemoryError("no room")


def test_a_failing_preview_is_said_and_training_goes_on(model, cache, tmp_path, surroundings):
    plain = train(RUN, model, cache, directory=tmp_path / "plain", **surroundings)
    run, listener, broken = replace(RUN, train=replace(RUN.train, preview_every=2)), Listener(), Broken()
    result = train(run, model, cache, directory=tmp_path / "run", preview=broken, **{**surroundings, "reporter": listener})
    assert losses(result) == losses(plain)
    assert broken.seen == [(name, step, False) for step in (0, 2, 4) for name in ("bad", "good")]
    warned = [text for level, text in listener.said if level == "warning"]
    assert len(warned) == 3 and "preview bad at step 2 failed (MemoryError: no room); training goes on" in warned[1]


class Unwilling(EagerEngine):
    def plain_blocks(self):
        raise LTX2Error("The base lies on other cards.")


def test_an_engine_that_cannot_lend_its_blocks_is_said(model, cache, tmp_path, surroundings):
    run, listener, broken = replace(RUN, train=replace(RUN.train, preview_every=2)), Listener(), Broken()
    result = train(run, model, cache, directory=tmp_path / "run", preview=broken, engine=Unwilling, **{**surroundings, "reporter": listener})
    assert result.steps == 4 and broken.seen == []
    assert sum("Previews at step" in text and "other cards" in text for level, text in listener.said if level == "warning") == 3


def test_stop_inside_a_preview_saves_and_stops(model, cache, tmp_path, surroundings):
    stop, run = StopFlag(), replace(RUN, train=replace(RUN.train, preview_every=2))
    with pytest.raises(Interrupted, match="step 2 of 4"):
        train(run, model, cache, directory=tmp_path / "run", preview=Broken(stop), **{**surroundings, "stop": stop})
    going_on = train(RUN, model, cache, directory=tmp_path / "run", **surroundings)
    assert losses(going_on) == losses(train(RUN, model, cache, directory=tmp_path / "plain", **surroundings))


def test_the_live_model_is_never_moved(model, surroundings):
    moved = []

    class Inner:
        device = torch.device("cpu")

        def use(self, module, working_bytes=0):
            moved.append(module)
            return surroundings["residency"].use(module, working_bytes)

        def release(self, module):
            moved.append(module)

    other, held = torch.nn.Linear(1, 1), Holding(Inner(), model)
    with held.use(model, 5) as live, held.use(other) as second:
        assert live is model and second is other
    held.release(model)
    assert moved == [other]


def test_names_and_settings_are_checked(models, cache, tmp_path, surroundings):
    with pytest.raises(LTX2Error, match="'a/b'"):
        PreviewJob("a/b", features(0))
    with pytest.raises(LTX2Error, match="preview_every is 0"):
        train_lora(models, RUN, cache, directory=tmp_path / "run", name="a", previews=jobs(), **surroundings)
    run = replace(RUN, train=replace(RUN.train, preview_every=1))
    with pytest.raises(LTX2Error, match="one name"):
        train_lora(models, run, cache, directory=tmp_path / "run", name="a", previews=jobs()[:1] * 2, **surroundings)


@pytest.mark.parametrize("kind", ["adamw", "adamw_bf16", "lion", "prodigy", "adafactor"])
def test_what_leaves_the_device_is_the_optimizer_s_own_and_comes_back(kind):
    dtype = torch.bfloat16 if kind == "adamw_bf16" else torch.float32
    parameters = [torch.nn.Parameter(torch.ones(4, 8, dtype=dtype))]
    optimizer = make_optimizer(parameters, TrainSettings(optimizer=kind))
    parameters[0].grad += 1
    optimizer.set_rate(0.1)
    optimizer.step()
    before, value = {k: t.clone() for k, t in optimizer.state_dict().items()}, parameters[0].detach().clone()
    movable = optimizer.movable()
    own = {t.data_ptr() for t in optimizer.state_dict().values()}
    assert movable and all(t.data_ptr() in own for t in movable)
    assert all(t.data_ptr() != parameters[0].data_ptr() for t in movable)
    with off_device(movable):
        for tensor in movable:
            tensor.data = tensor.data + 1  # a new place, as another device would be
        assert any(not torch.equal(t, before[k]) for k, t in optimizer.state_dict().items())
        for tensor in movable:
            tensor.data = tensor.data - 1
    after = optimizer.state_dict()
    assert all(torch.allclose(after[k].float(), before[k].float(), atol=1e-2) for k in before) and torch.equal(parameters[0], value)
