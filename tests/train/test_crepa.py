"""CREPA against its sums written out, a real (tiny, random) DINOv2, and runs that make features once."""

import math
import shutil
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cosine_similarity

from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.errors import LTX2Error
from ltx2core.models.build import load_video_vae
from ltx2core.models.forward import run_block, run_block_checkpointed
from ltx2core.protocols import Interrupted
from ltx2core.standalone import StopFlag
from ltx2core.train.batch import prepare
from ltx2core.train.crepa import CrepaSettings, CrepaTerm, Threshold, alignment, check_crepa, make_head, neighbour_weights
from ltx2core.train.crepa_teacher import TeacherFeatures, load_teacher, picture_features, shown_frames, teacher_folder, to_grid
from ltx2core.train.loop import train
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.reference import References
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.state import Facts
from ltx2core.train.step import training_step
from ltx2core.train.targets import preset_modules

FEATURES = 24


@pytest.fixture(scope="session")
def dino(tmp_path_factory):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dino")
    config = Dinov2Config(hidden_size=FEATURES, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def vae(tiny_file):
    return load_video_vae(open_checkpoint(tiny_file), dtype=torch.float32)


def features(frames, seed=0, cells=4):
    return torch.randn(2, frames, cells, FEATURES, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("options", [{}, {"adjacent_distance": 2}, {"adjacent_distance": 3, "cumulative_neighbours": True, "adjacent_tau": 0.5},
                                     {"normalise_neighbours": True}, {"normalise_by_frames": False}, {"adjacent_distance": 99}])  # fmt: skip
def test_score_is_the_sum_of_cosines(options):
    settings, (p, y), total = CrepaSettings("x", **options), (features(5), features(5, 1)), torch.zeros(2)
    d = min(settings.adjacent_distance, 4)
    for f in range(5):
        near = [k for k in range(5) if (0 < abs(k - f) <= d if settings.cumulative_neighbours else abs(k - f) == d)]
        weights = [math.exp(-abs(k - f) / settings.adjacent_tau) for k in near]
        scale = sum(weights) if settings.normalise_neighbours and near else 1.0
        total += cosine_similarity(p[:, f], y[:, f], dim=-1).mean(1)
        for k, w in zip(near, weights, strict=True):
            total += w / scale * cosine_similarity(p[:, f], y[:, k], dim=-1).mean(1)
    expected = total / 5 if settings.normalise_by_frames else total
    assert torch.allclose(alignment(p, y, settings), expected, atol=1e-5)


def test_the_best_score_is_the_one_of_the_formula():
    """All features equal: 1 + 2/e in the middle, 1 + 1/e at both ends."""
    same = torch.ones(1, 4, 3, FEATURES)
    assert alignment(same, same, CrepaSettings("x")).item() == pytest.approx((2 * (1 + 2 / math.e) + 2 * (1 + 1 / math.e)) / 4, rel=1e-5)
    assert neighbour_weights(1, CrepaSettings("x")).tolist() == [[1.0]]


def test_without_spatial_alignment_order_of_tokens_is_nothing():
    p, y, settings = features(3), features(3, 1), CrepaSettings("x", spatial_align=False)
    assert torch.allclose(alignment(p, y, settings), alignment(p[:, :, [2, 0, 3, 1]], y, settings), atol=1e-6)
    assert not torch.allclose(alignment(p, y, CrepaSettings("x")), alignment(p[:, :, [2, 0, 3, 1]], y, CrepaSettings("x")), atol=1e-3)


def test_weight_over_steps():
    base = CrepaSettings("x", weight=1.0, warmup_steps=10, end_weight=0.2)
    assert [base.weight_at(s, 110) for s in (0, 4, 9, 10, 99)] == pytest.approx([0.1, 0.5, 1, 1, 1])
    assert replace(base, schedule="linear").weight_at(60, 110) == pytest.approx(0.6)
    assert replace(base, schedule="cosine").weight_at(35, 110) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert replace(base, schedule="polynomial", power=3.0).weight_at(60, 110) == pytest.approx(0.2 + 0.8 / 8)
    assert replace(base, schedule="linear", decay_steps=60).weight_at(60, 110) == pytest.approx(0.2)
    assert replace(base, cutoff_step=50).weight_at(49, 110) == 1 and replace(base, cutoff_step=50).weight_at(50, 110) == 0


@pytest.mark.parametrize("mode, ends_off", [("permanent", True), ("recoverable", False)])
def test_threshold_on_the_running_mean(mode, ends_off):
    threshold, mean = Threshold(CrepaSettings("x", similarity_threshold=0.5, threshold_mode=mode)), None
    for score in [0.4] * 5 + [1.4] * 30:
        threshold.update(score)
        mean = score if mean is None else 0.99 * mean + 0.01 * score
        assert threshold.off == (mean >= 0.5)
    other = Threshold(CrepaSettings("x", similarity_threshold=0.5, threshold_mode=mode))
    other.load_state_dict(threshold.state_dict())
    for t in (threshold, other):
        for _ in range(80):
            t.update(0.0)
        assert t.off is ends_off


@pytest.mark.parametrize("runner", [run_block, run_block_checkpointed])
def test_it_acts_on_its_block_and_those_before(runner, model, make_sample):
    """The loss is that of the hidden states behind block 0 seen by a hook; layers of block 1 get no gradient of it."""
    inputs = prepare([make_sample(1), make_sample(2)], 0, TrainSettings(), torch.float32)
    head = make_head(model.proj_in.out_features, FEATURES, torch.Generator().manual_seed(1))
    settings, teacher = CrepaSettings("x", block_index=0), features(3)
    objective = Objective(crepa=CrepaTerm(head, settings))
    given = replace(inputs, teacher=teacher, teacher_weight=torch.tensor(0.5))
    seen = []
    with injected(model, LoRASettings(rank=2), preset_modules("video", 2), 0, torch.float32) as lora:
        plain = training_step(model, inputs, objective, runner)
        handle = model.transformer_blocks[0].register_forward_hook(lambda m, i, o: seen.append(o[0]))
        losses = training_step(model, given, objective, runner)
        handle.remove()
        score = alignment(head(seen[0]).unflatten(1, (3, 4)), teacher, settings).mean()
        assert losses.alignment.item() == pytest.approx(score.item(), rel=1e-4) and losses.total.item() == pytest.approx((plain.total - 0.5 * score).item(), rel=1e-5)
        gradients = torch.autograd.grad(losses.alignment, [p for n, p in lora.parameters.items() if "lora_B" in n], allow_unused=True)
        names = [n for n in lora.parameters if "lora_B" in n]
        acts = {n.split(".")[1] for n, g in zip(names, gradients, strict=True) if g is not None and g.any()}
    assert acts == {"0"}


def test_grids_are_aligned_in_two_dimensions():
    """A picture whose feature is its place: each cell of the latent grid gets the place of its own centre."""
    h, w = torch.meshgrid((torch.arange(37) + 0.5) / 37, (torch.arange(37) + 0.5) / 37, indexing="ij")
    found = to_grid(torch.stack((h, w), -1)[None], 4, 6)[0].unflatten(0, (4, 6))
    rows, columns = (torch.arange(4) + 0.5) / 4, (torch.arange(6) + 0.5) / 6
    assert torch.allclose(found[:, :, 0], rows[:, None].expand(4, 6), atol=0.03) and torch.allclose(found[:, :, 1], columns.expand(4, 6), atol=0.03)


def test_features_are_those_of_transformers(dino):
    from transformers import BitImageProcessor, Dinov2Model
    from PIL import Image

    pixels = torch.randint(0, 256, (2, 3, 42, 42), generator=torch.Generator().manual_seed(0)).byte()
    processor = BitImageProcessor(do_resize=False, do_center_crop=False, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    values = processor([Image.fromarray(p.permute(1, 2, 0).numpy()) for p in pixels], return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = Dinov2Model.from_pretrained(dino)(values).last_hidden_state[:, 1:].unflatten(1, (3, 3))
    teacher = load_teacher(dino)
    for batch in (0, 1):
        found = picture_features(teacher, pixels.float() / 127.5 - 1, 44, batch)  # cut to 3 patches of 14
        assert torch.allclose(found, expected, atol=1e-4)


def test_shown_frames_lie_in_their_latent_frame():
    assert shown_frames(4) == [0, 4, 12, 20]
    assert all(8 * f - 7 <= p <= 8 * f for f, p in enumerate(shown_frames(9)) if f)


def test_what_is_no_teacher_is_named(tmp_path, dino):
    with pytest.raises(LTX2Error, match="No DINOv2"):
        load_teacher(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}', encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(LTX2Error, match="is vit"):
        load_teacher(tmp_path)


def test_features_are_made_once_and_kept(dino, vae, make_cache, tmp_path, surroundings):
    cache = make_cache(tmp_path / "cache", ({}, {"frames": 2}))
    store = TeacherFeatures(cache.root, CrepaSettings(str(dino), image_size=28, drop_vae_encoder=True))
    stopped = StopFlag(stopped=True)
    with pytest.raises(Interrupted):
        store.build(cache, vae, surroundings["residency"], surroundings["reporter"], stopped)
    store.build(cache, vae, *surroundings.values())
    assert store.read(cache.clips[0]).shape == (3, 4, FEATURES) and store.read(cache.clips[1]).shape == (2, 4, FEATURES)
    assert vae.encoder is not None
    times = {p: p.stat().st_mtime_ns for p in (cache.root / "crepa").rglob("*.safetensors")}
    store.build(cache, vae, *surroundings.values())
    assert len(times) == 2 and times == {p: p.stat().st_mtime_ns for p in times}
    assert TeacherFeatures(cache.root, CrepaSettings(str(dino), image_size=42)).key(cache.clips[0]) != store.key(cache.clips[0])


@pytest.mark.parametrize("drop", [False, True])
def test_features_are_those_of_the_decoded_clip(dino, vae, make_cache, tmp_path, surroundings, drop):
    """The clip as diffusers' VAE decodes it, frames 0, 4 and 12, seen by DINOv2; with drop_vae_encoder no weight of the encoder goes to the device."""
    cache, moved = make_cache(tmp_path / "cache", ({},)), []

    class Watched(type(surroundings["residency"])):
        def use(self, module, working_bytes=0):
            moved.extend(name for name, _ in module.named_parameters() if name.startswith("encoder.") and module is vae)
            return super().use(module, working_bytes)

    store = TeacherFeatures(cache.root, CrepaSettings(str(dino), image_size=28, drop_vae_encoder=drop))
    store.build(cache, vae, Watched(torch.device("cpu")), surroundings["reporter"], surroundings["stop"])
    assert bool(moved) is not drop and vae.encoder is not None
    latents, mean, std = cache[0].video_latents[None].float(), *(t.view(1, -1, 1, 1, 1) for t in (vae.latents_mean, vae.latents_std))
    with torch.no_grad():
        film = vae.decode(latents * std / vae.config.scaling_factor + mean).sample[0]
        expected = picture_features(load_teacher(dino), film[:, [0, 4, 12]].transpose(0, 1), 28).flatten(1, 2)
    assert torch.allclose(store.read(cache.clips[0]).float(), expected, atol=3e-2) and expected.std() > 0.1


class StopAfter(StopFlag):
    asked = 0

    def requested(self):
        self.asked += 1
        return self.asked > 2


def test_a_run_with_crepa_goes_on_to_the_bit(dino, vae, model, make_cache, tmp_path, surroundings):
    cache = make_cache(tmp_path / "cache", ({}, {}))
    crepa = CrepaSettings(str(dino), block_index=1, image_size=28)
    settings = TrainSettings(steps=4, warmup=0, learning_rate=1e-2, dtype="float32", validation_clips=1, crepa=crepa)
    run = RunConfig(LoRASettings(rank=2), settings)
    whole = train(run, model, cache, directory=tmp_path / "a", vae=vae, **surroundings)
    with pytest.raises(Interrupted):
        train(run, model, cache, directory=tmp_path / "b", vae=vae, **{**surroundings, "stop": StopAfter()})
    parts = train(run, model, cache, directory=tmp_path / "b", vae=vae, **surroundings)
    assert [r.alignment for r in whole.history.steps] == [r.alignment for r in parts.history.steps]
    assert whole.history.steps[-1].alignment > whole.history.steps[0].alignment
    for module, layer in whole.adapter.layers.items():
        assert torch.equal(layer.up, parts.adapter.layers[module].up)


@pytest.mark.parametrize("runner", [run_block, run_block_checkpointed])
def test_a_later_block_teaches_without_gradient(runner, model, make_sample):
    """feature_source backbone: the score is that of both blocks' hidden states seen by hooks, and moves the earlier block alone."""
    inputs = prepare([make_sample(1), make_sample(2)], 0, TrainSettings(), torch.float32)
    width = model.proj_in.out_features
    head = make_head(width, width, torch.Generator().manual_seed(1))
    settings = CrepaSettings(feature_source="backbone", block_index=0, teacher_block_index=1)
    given = replace(inputs, teacher=torch.empty(2, 3, 4, 0), teacher_weight=torch.tensor(0.5))
    seen = {}
    with injected(model, LoRASettings(rank=2), preset_modules("video", 2), 0, torch.float32) as lora:
        handles = [b.register_forward_hook(lambda m, i, o, n=n: seen.update({n: o[0]})) for n, b in enumerate(model.transformer_blocks)]
        losses = training_step(model, given, Objective(crepa=CrepaTerm(head, settings)), runner)
        for handle in handles:
            handle.remove()
        score = alignment(head(seen[0]).unflatten(1, (3, 4)), seen[1].detach().unflatten(1, (3, 4)), settings).mean()
        assert losses.alignment.item() == pytest.approx(score.item(), rel=1e-4)
        names = [n for n in lora.parameters if "lora_B" in n]
        gradients = torch.autograd.grad(losses.alignment, [lora.parameters[n] for n in names], allow_unused=True)
        assert {n.split(".")[1] for n, g in zip(names, gradients, strict=True) if g is not None and g.any()} == {"0"}


def test_a_run_that_teaches_itself_needs_no_encoder_and_no_vae(model, make_cache, tmp_path, surroundings):
    crepa = CrepaSettings(feature_source="backbone", block_index=0, teacher_block_index=1)
    settings = TrainSettings(steps=8, warmup=0, learning_rate=1e-2, dtype="float32", validation_clips=0, crepa=crepa)
    result = train(RunConfig(LoRASettings(rank=2), settings), model, make_cache(tmp_path / "cache"), directory=tmp_path / "run", **surroundings)
    scores = [r.alignment for r in result.history.steps]
    assert sum(scores[4:]) > sum(scores[:4]) and not (tmp_path / "cache" / "crepa").exists()


def test_an_encoder_by_its_name_on_the_hub(dino, tmp_path, monkeypatch):
    """From the hub's cache; without leave to download nothing is asked of any server."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    settings = CrepaSettings("facebook/dinov2-small")
    with pytest.raises(LTX2Error, match="facebook/dinov2-small:config.json is not in the Hugging Face cache.*allow_download"):
        teacher_folder(settings)
    snapshot = tmp_path / "models--facebook--dinov2-small" / "snapshots" / ("0" * 40)
    shutil.copytree(dino, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    assert teacher_folder(settings) == snapshot and teacher_folder(CrepaSettings(str(dino))) == dino
    assert load_teacher(teacher_folder(settings)).config.hidden_size == FEATURES


def test_leave_to_download_is_no_part_of_a_run_s_identity():
    runs = (RunConfig(train=TrainSettings(crepa=CrepaSettings("a/b", allow_download=leave))) for leave in (False, True))
    assert len({Facts.of(run, "", "").fingerprint for run in runs}) == 1


@pytest.mark.parametrize("options, message", [
    ({}, "crepa.encoder is empty"), ({"feature_source": "vae"}, "feature_source"),
    ({"feature_source": "backbone", "teacher_block_index": 8}, "cannot teach itself"),
])  # fmt: skip
def test_bad_values_are_named(options, message):
    with pytest.raises(LTX2Error, match=message):
        CrepaSettings(**options)


def test_what_does_not_fit_is_named(dino, model, make_cache, tmp_path, surroundings):
    cache, crepa = make_cache(tmp_path / "cache", ({},)), CrepaSettings(str(dino), block_index=1)
    run = RunConfig(LoRASettings(rank=2), TrainSettings(steps=1, dtype="float32", crepa=crepa))
    with pytest.raises(LTX2Error, match="needs the video VAE"):
        train(run, model, cache, directory=tmp_path / "run", **surroundings)
    with pytest.raises(LTX2Error, match="reference videos"):
        train(run, model, cache, directory=tmp_path / "run", references=References(cache), **surroundings)
    with pytest.raises(LTX2Error, match="blocks 0 to 1"):
        check_crepa(CrepaSettings("x"), 2, ())
    with pytest.raises(LTX2Error, match="lies in the TREAD route"):
        check_crepa(CrepaSettings("x"), 48, ((2, 46),))
    with pytest.raises(LTX2Error, match="teacher_block_index 16 lies in the TREAD route"):
        check_crepa(CrepaSettings(feature_source="backbone"), 48, ((10, 46),))
    check_crepa(CrepaSettings("x", block_index=46), 48, ((2, 46),))
