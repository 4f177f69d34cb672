"""Sound alone: the numbers of the whole model whose picture is cut off, and nothing of the picture computed."""

import re
from dataclasses import replace

import pytest
import torch

from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.errors import LTX2Error
from ltx2core.memory.training import train_lora
from ltx2core.models.audio_branch import keep_sound, load_audio_branch
from ltx2core.models.build import load_transformer
from ltx2core.models.forward import denoise
from ltx2core.models.handle import Models
from ltx2core.train.audio_only import denoise_audio
from ltx2core.standalone import ConsoleReporter
from ltx2core.train.batch import prepare
from ltx2core.train.conditioning import ConditioningSettings
from ltx2core.train.loop import train
from ltx2core.train.crepa import CrepaSettings
from ltx2core.train.lora import injected
from ltx2core.train.objective import Objective
from ltx2core.train.reference import References
from ltx2core.train.rollout_settings import RolloutSettings
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.step import EagerEngine, training_step
from ltx2core.train.targets import choose, preset_modules
from ltx2core.train.tread import TreadRoute

SETTINGS = TrainSettings(audio_only=True, dtype="float32", warmup=0, steps=3, validation_clips=1)


@pytest.mark.parametrize("per_token", [False, True])
def test_the_whole_model_without_its_picture_says_the_same(per_token, model, make_sample):
    for block in model.transformer_blocks:
        for p in block.video_to_audio_attn.to_out[0].parameters():
            p.data.zero_()
    inputs = prepare([make_sample(1), make_sample(2)], 0, TrainSettings(), torch.float32)
    audio = inputs.audio.modality()
    if per_token:
        audio = replace(audio, timesteps=torch.rand(2, audio.tokens.shape[1], generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        whole = denoise(model, inputs.video.modality(), audio)[1]
        alone = denoise_audio(model, audio)
    assert torch.allclose(alone, whole, atol=1e-5) and whole.std() > 0.1


def test_no_layer_of_the_picture_is_called(model, make_sample):
    called = set()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda m, i, o, name=name: called.add(name))
    inputs = prepare([make_sample(1)], 0, SETTINGS, torch.float32)
    EagerEngine(model, Objective.of(SETTINGS), torch.device("cpu"), False).evaluate(inputs)
    assert called and all("audio" in n and "to_video" not in n and "video_to" not in n for n in called)
    per_block = {n.split(".", 2)[2] for n in called if n.startswith("transformer_blocks.")}
    assert per_block == {f"audio_attn{i}.{p}" for i in (1, 2) for p in ("to_q", "to_k", "to_v", "to_out.0")} | {"audio_ff.net.0.proj", "audio_ff.net.2"}


def test_the_video_in_a_batch_is_one_zero_cell_a_frame(make_sample):
    inputs = prepare([make_sample(1, frames=4, height=3, width=2)], 0, SETTINGS, torch.float32)
    assert inputs.video.tokens.shape[1] == 4 and not inputs.video.mask.any() and inputs.audio.mask.all()
    assert torch.allclose(inputs.video.tokens / inputs.video.sigma, inputs.video.target)  # zeros, noised


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_formula(checkpointing, model, make_sample):
    inputs = prepare([make_sample(1)], 0, SETTINGS, torch.float32)
    with injected(model, LoRASettings(rank=2), preset_modules("audio_only", 2), 0, torch.float32) as lora:
        losses = EagerEngine(model, Objective.of(SETTINGS), torch.device("cpu"), checkpointing)(inputs)
        prediction = denoise_audio(model, inputs.audio.modality())
        expected = (prediction - inputs.audio.target).pow(2).mean()
        gradients = torch.autograd.grad(expected, list(lora.parameters.values()))
        assert losses.total.item() == pytest.approx(expected.item(), rel=1e-6) and losses.video == 0
        for p, g in zip(lora.parameters.values(), gradients, strict=True):
            assert torch.allclose(p.grad, g, atol=1e-6)


def test_a_run_learns_sound_and_logs_it_alone(model, make_cache, tmp_path, surroundings):
    cache = make_cache(tmp_path / "cache", ({}, {}))
    result = train(RunConfig(LoRASettings(rank=2), SETTINGS), model, cache, directory=tmp_path / "run", **surroundings)
    assert {m.split(".")[2] for m in result.adapter.layers} == {"audio_attn1", "audio_attn2", "audio_ff"}
    assert all(r.video is None and r.loss == pytest.approx(r.audio) for r in result.history.steps)
    assert all(v.video is None and v.audio > 0 for v in result.validation)


def test_what_does_not_fit_is_named(model, make_cache, tmp_path, surroundings):
    mixed = make_cache(tmp_path / "mixed", ({}, {"audio": False}))
    with pytest.raises(LTX2Error, match="1.mp4 has none"):
        train(RunConfig(LoRASettings(rank=2), SETTINGS), model, mixed, directory=tmp_path / "a", **surroundings)
    whole = make_cache(tmp_path / "whole", ({},))
    with pytest.raises(LTX2Error, match="never reaches transformer_blocks.0.attn1.to_q"):
        train(RunConfig(LoRASettings(rank=2, targets="video"), SETTINGS), model, whole, directory=tmp_path / "b", **surroundings)
    with pytest.raises(LTX2Error, match="reference videos belong to the picture"):
        train(RunConfig(LoRASettings(rank=2), SETTINGS), model, whole, directory=tmp_path / "c", references=References(whole), **surroundings)
    for options, name in (({"rollout": RolloutSettings(2)}, "rollout"), ({"first_frame_probability": 0.5}, "conditions"), ({"audio_weight": 0}, "audio_weight"),
                          ({"conditioning": ConditioningSettings(frozen_audio=1.0)}, "frozen_audio")):  # fmt: skip
        with pytest.raises(LTX2Error, match=name):
            TrainSettings(audio_only=True, **options)


def test_tread_and_crepa_are_switched_off_and_that_is_said(tiny_file, make_cache, tmp_path, surroundings):
    """By a run's memory and without; it is the same run to the bit, and goes on as such. The encoder is not looked for."""

    class Heard(ConsoleReporter):
        def __init__(self):
            super().__init__(quiet=True)
            self.warnings = []

        def message(self, text, level="info"):
            self.warnings += [text] * (level == "warning")

    heard, cache, given = Heard(), make_cache(tmp_path / "cache", ({}, {})), {**surroundings}
    given["reporter"] = heard
    plain = RunConfig(LoRASettings(rank=2), replace(SETTINGS, steps=2, learning_rate=1e-2))
    run = replace(plain, train=replace(plain.train, tread=(TreadRoute(),), crepa=CrepaSettings("absent")))
    models = Models(open_checkpoint(tiny_file), torch.float32)
    first = train_lora(models, run, cache, directory=tmp_path / "run", name="a", **given)
    assert heard.warnings == ["Sound is trained alone, without a picture to act on, so these are switched off: TREAD, CREPA."]
    again = train_lora(models, plain, cache, directory=tmp_path / "run", name="a", **given)
    alone = train(run, load_transformer(models.checkpoint, dtype=torch.float32), cache, directory=tmp_path / "alone", name="a", **given)
    assert len(heard.warnings) == 2 and first.history.steps == again.history.steps == alone.history.steps


def test_auto_targets():
    assert choose("auto", 2, True, True).modules == preset_modules("audio_only", 2)


def linears(model):
    """(tokens of text or of sound, inputs, outputs) of every linear layer of one block, and of those around the blocks that work on tokens."""
    width, text = model.config.audio_num_attention_heads * model.config.audio_attention_head_dim, "text"
    block = [("sound", width, width)] * 6 + [(text, width, width)] * 2  # four of self-attention, q and out of the text's; its k and v
    inner = model.transformer_blocks[0].audio_ff.net[2].in_features
    return width, block + [("sound", width, inner), ("sound", inner, width)]


@pytest.mark.parametrize("picture", [1, 6])
def test_a_step_s_arithmetic_is_that_of_the_sound_s_branch_written_out(picture, model, make_sample):
    """Products counted by torch against those of the layers, however large the picture."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    rank, sample = 2, make_sample(1, height=picture, width=picture)
    inputs, tokens = prepare([sample], 0, SETTINGS, torch.float32), sample.audio_latents.shape[1]
    with injected(model, LoRASettings(rank=rank, targets="audio_only"), preset_modules("audio_only", 2), 0, torch.float32):
        engine = EagerEngine(model, Objective.of(SETTINGS), torch.device("cpu"), False)
        # The plain attention, whose products the counter knows on a processor.
        with FlopCounterMode(display=False) as forward, sdpa_kernel(SDPBackend.MATH):
            engine.evaluate(inputs)
        with FlopCounterMode(display=False) as step, sdpa_kernel(SDPBackend.MATH):
            engine(inputs)
    width, block = linears(model)
    count = {"sound": tokens, "text": sample.text_audio.shape[0]}
    dense = sum(2 * count[kind] * i * o for kind, i, o in block)
    adapter = sum(2 * count[kind] * rank * (i + o) for kind, i, o in block)
    attention = 4 * tokens * width * (tokens + count["text"])  # scores and their sum, over sound and over text
    layers = len(model.transformer_blocks)
    caption, frequencies, channels = model.config.caption_channels, 256, 128
    around = 2 * tokens * channels * width * 2  # in and out
    around += 2 * count["text"] * (caption * width + width * width) + 2 * (frequencies * width + width * width + 6 * width * width)
    assert forward.get_total_flops() == layers * (dense + adapter + attention) + around
    # Backward: at most twice the products of forward for all but the frozen matrices, which need one; nothing else.
    assert forward.get_total_flops() < step.get_total_flops() <= layers * (2 * dense + 3 * adapter + 3.5 * attention) + 2 * around


def kept_bytes(model, inputs, settings):
    """Of all tensors that autograd keeps for backward, weights aside, each memory once."""
    own, kept = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}, {}

    def keep(t):
        if t.untyped_storage().data_ptr() not in own:
            kept[t.untyped_storage().data_ptr()] = t  # held, so that no address is used twice
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        training_step(model, inputs, Objective.of(settings)).total.backward()
    return sum(t.untyped_storage().nbytes() for t in kept.values())


def test_what_is_kept_for_backward_does_not_depend_on_the_picture(model, make_sample):
    plain = replace(SETTINGS, audio_only=False)
    with injected(model, LoRASettings(rank=2), preset_modules("audio_only", 2), 0, torch.float32):
        small, large = (make_sample(1, height=side, width=side) for side in (1, 8))
        alone = [kept_bytes(model, prepare([s], 0, SETTINGS, torch.float32), SETTINGS) for s in (small, large)]
        both = [kept_bytes(model, prepare([s], 0, plain, torch.float32), plain) for s in (small, large)]
    assert alone[0] == alone[1] and both[0] > alone[0] and both[1] > 5 * alone[0]


def test_only_the_sound_s_weights_are_read_and_held(model, tiny_file, make_sample):
    branch = load_audio_branch(open_checkpoint(tiny_file), torch.float32)
    whole = dict(model.named_parameters())
    held = dict(branch.named_parameters())
    assert all(torch.equal(p, whole[n]) for n, p in held.items()) and not any(p.is_meta for p in held.values())
    audio = r"(audio_(proj_in|proj_out|caption_projection|time_embed)\.|audio_scale_shift_table|transformer_blocks\.\d+\.audio_(attn[12]|ff|scale_shift_table))"
    assert held.keys() == {n for n in whole if re.match(audio, n)}
    inputs = prepare([make_sample(1)], 0, SETTINGS, torch.float32)
    engines = (EagerEngine(m, Objective.of(SETTINGS), torch.device("cpu"), False) for m in (model, branch))
    a, b = (engine.evaluate(inputs).audio for engine in engines)
    assert a == b > 0


def test_of_the_full_size_model_a_sixth_is_held():
    from diffusers import LTX2VideoTransformer3DModel

    with torch.device("meta"):
        model = LTX2VideoTransformer3DModel()
    whole = sum(p.numel() for p in model.parameters())
    assert sum(p.numel() for p in keep_sound(model).parameters()) < whole / 5


def test_a_run_by_its_memory_reads_the_branch_alone(tiny_file, make_cache, tmp_path, surroundings):
    """The same adapter as with the whole model; the whole model is not even read."""
    cache, run = make_cache(tmp_path / "cache", ({}, {})), RunConfig(LoRASettings(rank=2), replace(SETTINGS, steps=2, learning_rate=1e-2))
    models = Models(open_checkpoint(tiny_file), torch.float32)
    lean = train_lora(models, run, cache, directory=tmp_path / "lean", name="a", **surroundings)
    assert models.loaded("transformer") is None
    whole = train(run, load_transformer(models.checkpoint, dtype=torch.float32), cache, directory=tmp_path / "whole", name="a", **surroundings)
    assert all(torch.equal(t, whole.adapter.layers[m].tensors()[n]) for m, layer in lean.adapter.layers.items() for n, t in layer.tensors().items())


def test_the_base_s_prediction_is_that_of_the_branch(model, make_sample):
    """For clips of regularisation: their target is what the sound's branch says, without a picture."""
    inputs = prepare([make_sample(1)], 0, SETTINGS, torch.float32)
    with torch.no_grad():
        expected = denoise_audio(model, inputs.audio.modality())
    video, audio = EagerEngine(model, Objective.of(SETTINGS), torch.device("cpu"), False).predict(inputs)
    assert torch.equal(audio, expected) and not video.any()
