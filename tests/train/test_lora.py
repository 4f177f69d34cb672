"""What an adapter does to the model, and what it leaves alone."""

import pytest
import torch

from ltx2core.checkpoint.adapter import Adapter, load_adapter, save_adapter
from ltx2core.errors import LTX2Error
from ltx2core.models.forward import denoise
from ltx2core.train.batch import prepare
from ltx2core.train.lora import inject, injected, remove
from ltx2core.train.objective import Objective
from ltx2core.train.settings import LoRASettings, TrainSettings
from ltx2core.train.step import EagerEngine
from ltx2core.train.targets import preset_modules


def forward(model, inputs):
    with torch.no_grad():
        return denoise(model, inputs.video.modality(), inputs.audio.modality())


def randomise(lora):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in lora.parameters.values():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3)


@pytest.fixture
def inputs(make_sample):
    return prepare([make_sample(1)], 0, TrainSettings(), torch.float32)


@pytest.mark.parametrize("settings", [LoRASettings(rank=3, alpha=6), LoRASettings(rank=4, alpha=6, rslora=True)])
def test_the_exported_change_is_the_change_in_training(settings, model, inputs, tmp_path):
    """Base weights + up @ down of the written file give the output that the injected adapter gave."""
    modules = preset_modules("all_linear", 2)
    with injected(model, settings, modules, 0, torch.float32) as lora:
        base = forward(model, inputs)  # lora_B is zero
        randomise(lora)
        trained = forward(model, inputs)
        adapter = lora.extract("mine", "2.0")
    untouched = forward(model, inputs)
    loaded = load_adapter(save_adapter(tmp_path / "a.safetensors", adapter, torch.float32))
    for module, (down, up) in loaded.layers.items():
        model.get_submodule(module).weight.data += up @ down
    merged = forward(model, inputs)
    for i in range(2):
        assert torch.equal(untouched[i], base[i])
        assert (trained[i] - base[i]).abs().max() > 0.1 and torch.allclose(merged[i], trained[i], atol=1e-4)
    assert loaded.family == "2.0" and loaded.ranks == (settings.rank,)


def test_a_video_adapter_leaves_the_sound_path_untouched(model, inputs):
    """No weight of the sound's path changes; with the two paths' exchange cut, the sound's output stays to the bit."""
    modules = preset_modules("video", 2)
    for block in model.transformer_blocks:
        block.video_to_audio_attn.to_out[0].weight.data.zero_()
        block.video_to_audio_attn.to_out[0].bias.data.zero_()
    with injected(model, LoRASettings(rank=2), modules, 0, torch.float32) as lora:
        before = forward(model, inputs)
        EagerEngine(model, Objective(), torch.device("cpu"), False)(inputs)
        assert all("audio" not in name for name in lora.parameters)
        assert all(p.grad is None for n, p in model.named_parameters() if "audio" in n)
        randomise(lora)
        after = forward(model, inputs)
        assert torch.equal(before[1], after[1]) and not torch.equal(before[0], after[0])
        assert all("audio" not in m for m in lora.extract("a", "2.0").layers)


def test_the_start_is_the_base_and_does_not_depend_on_the_other_layers(model, inputs):
    base = forward(model, inputs)
    with injected(model, LoRASettings(rank=2), preset_modules("video", 2), 7, torch.float32) as lora:
        assert all(torch.equal(a, b) for a, b in zip(forward(model, inputs), base, strict=True))
        few = {n: p.detach().clone() for n, p in lora.parameters.items()}
    torch.manual_seed(99)
    with injected(model, LoRASettings(rank=2), preset_modules("all_linear", 2), 7, torch.float32) as lora:
        assert all(torch.equal(lora.parameters[n], p) for n, p in few.items())
    with injected(model, LoRASettings(rank=2), preset_modules("video", 2), 8, torch.float32) as lora:
        assert not any(torch.equal(lora.parameters[n], p) for n, p in few.items() if "lora_A" in n)


@pytest.mark.parametrize("init, spread", [("kaiming_uniform", lambda rank, width: (1 / (3 * width)) ** 0.5), ("gaussian", lambda rank, width: 1 / rank)])
def test_spread_of_the_start(init, spread, model):
    with injected(model, LoRASettings(rank=16, init=init), ("transformer_blocks.0.ff.net.2",), 0, torch.float32) as lora:
        down = lora.parameters["transformer_blocks.0.ff.net.2.lora_A.weight"]
        assert down.std().item() == pytest.approx(spread(16, down.shape[1]), rel=0.1) and abs(down.mean().item()) < down.std() / 10


def test_dropout_leaves_out_its_share_of_a_layer_s_inputs(model):
    """The change is scale * B A (x * m / (1 - p)), m drawn for each number of each token; in evaluation it is scale * B A x."""
    module, tokens = "transformer_blocks.0.ff.net.2", 20_000
    with injected(model, LoRASettings(rank=2, alpha=6, dropout=0.3), (module,), 0, torch.float32) as lora:
        layer, down, up = model.get_submodule(module), *(lora.parameters[f"{module}.lora_{n}.weight"] for n in "AB")
        with torch.no_grad():
            down.zero_()
            up.zero_()
            down[0, 3] = down[1, 7] = up[0, 0] = up[1, 1] = 1  # output 0 is input 3, output 1 is input 7
            x = torch.ones(1, tokens, down.shape[1])
            base = layer.get_base_layer()(x)
            seen = (layer(x) - base)[0]
            still = (layer.eval()(x) - base)[0]
    kept = (seen[:, :2] > 0).float()
    assert torch.allclose(seen[:, :2], kept * 3 / 0.7, atol=1e-4) and torch.allclose(seen[:, 2:], torch.zeros(()), atol=1e-5)
    assert kept.mean(0).tolist() == pytest.approx([0.7, 0.7], abs=0.02) and abs(torch.corrcoef(kept.T)[0, 1]) < 0.05
    assert torch.allclose(still[:, :2], torch.full((), 3.0), atol=1e-4)


def test_it_goes_away_after_an_error(model):
    names, required = [n for n, _ in model.named_modules()], [p.requires_grad for p in model.parameters()]
    with pytest.raises(ZeroDivisionError), injected(model, LoRASettings(rank=2, dropout=0.5), preset_modules("video", 2), 0, torch.float32):
        assert model.training
        raise ZeroDivisionError
    assert [n for n, _ in model.named_modules()] == names and [p.requires_grad for p in model.parameters()] == required
    assert not model.training and not hasattr(model, "peft_config")


def test_two_adapters_at_once_are_refused(model):
    lora = inject(model, LoRASettings(rank=2), preset_modules("video", 2), 0, torch.float32)
    with pytest.raises(LTX2Error, match="still carries an adapter"):
        inject(model, LoRASettings(rank=2), preset_modules("video", 2), 0, torch.float32)
    remove(lora)


def test_an_adapter_of_other_layers_is_refused(model):
    strange = Adapter("other", {"transformer_blocks.0.ff.net.2": (torch.zeros(2, 128), torch.zeros(32, 2))})
    with injected(model, LoRASettings(rank=2), preset_modules("video", 2), 0, torch.float32) as lora, pytest.raises(LTX2Error, match="ff.net.2"):
        lora.load(strange)


def test_a_layer_the_model_lacks_is_named(model):
    with pytest.raises(LTX2Error, match="transformer_blocks.5.attn1.to_q"):
        inject(model, LoRASettings(), preset_modules("video", 6)[40:], 0, torch.float32)
