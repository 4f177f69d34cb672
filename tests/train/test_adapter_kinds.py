"""DoRA, LoKr, LoHa: what is trained, what is written, and what sampling does with the file are one change of the weights."""

import copy
import json

import pytest
import torch
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from ltx2core.checkpoint.adapter import load_adapter, save_adapter
from ltx2core.checkpoint.adapter_info import inspect_adapter
from ltx2core.checkpoint.adapter_layers import from_tensors
from ltx2core.checkpoint.adapter_tools import resize
from ltx2core.errors import LTX2Error
from ltx2core.models.forward import denoise
from ltx2core.sample.adapters import applied
from ltx2core.train.batch import prepare
from ltx2core.train.lora import injected
from ltx2core.train.loop import train
from ltx2core.train.objective import Objective
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.step import EagerEngine
from ltx2core.train.targets import preset_modules

KINDS = {
    "lora": LoRASettings(rank=3, alpha=6), "rslora": LoRASettings(rank=4, alpha=6, rslora=True),
    "dora": LoRASettings(rank=3, alpha=6, kind="dora"), "loha": LoRASettings(rank=3, alpha=6, kind="loha"),
    "lokr": LoRASettings(rank=2, alpha=6, kind="lokr"), "lokr factor": LoRASettings(rank=2, alpha=3, kind="lokr", factor=4),
    "lokr whole": LoRASettings(rank=64, alpha=3, kind="lokr"), "rs lokr": LoRASettings(rank=2, alpha=3, kind="lokr", factor=4, rslora=True),
    "rs loha": LoRASettings(rank=4, alpha=6, kind="loha", rslora=True),
}  # fmt: skip
MODULES = preset_modules("all_linear", 2)


def forward(model, inputs):
    with torch.no_grad():
        return denoise(model, inputs.video.modality(), inputs.audio.modality())


def randomise(lora):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in lora.parameters.items():
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(p * (1 + 0.2 * noise) if name.endswith("magnitude") else noise * 0.5)


def trained_weight(lora, module):
    """[out, in], by the paper's formula for LoRA, DoRA and two whole Kronecker factors, by lycoris' own merge for the others."""
    layer, settings, p = lora.model.get_submodule(module), lora.settings, lora.parameters
    base = layer.get_base_layer().weight
    if f"{module}.lokr_w2" in p:
        return base + torch.kron(p[f"{module}.lokr_w1"], p[f"{module}.lokr_w2"])
    if settings.kind in ("lokr", "loha"):
        return base + layer.change.get_weight(tuple(base.shape))
    changed = base + settings.scaling * p[f"{module}.lora_B.weight"] @ p[f"{module}.lora_A.weight"]
    if settings.kind == "lora":
        return changed
    return changed * (p[f"{module}.magnitude"] / changed.pow(2).sum(1).sqrt())[:, None]


@pytest.fixture
def inputs(make_sample):
    return prepare([make_sample(1)], 0, TrainSettings(), torch.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_trained_written_applied_and_merged_agree(kind, model, inputs, tmp_path):
    base = forward(model, inputs)
    with injected(model, KINDS[kind], MODULES, 0, torch.float32) as lora:
        for a, b in zip(forward(model, inputs), base, strict=True):
            assert torch.allclose(a, b, atol=2e-5)  # the start is the base
        randomise(lora)
        trained = forward(model, inputs)
        weights = {m: trained_weight(lora, m).detach() for m in MODULES}
        adapter = lora.extract("mine", "2.0")
    loaded = load_adapter(save_adapter(tmp_path / "a.safetensors", adapter, torch.float32))
    with applied(model, [(loaded, 1.0)]):
        sampled = forward(model, inputs)
    with applied(model, [(loaded, 0.0)]):
        off = forward(model, inputs)
    for module, weight in weights.items():
        model.get_submodule(module).weight.data = weight
    merged = forward(model, inputs)
    for i in range(2):
        scale = trained[i].abs().max()
        assert (trained[i] - base[i]).abs().max() > 0.05 * scale and torch.equal(off[i], base[i])
        assert torch.allclose(merged[i], trained[i], atol=3e-5 * scale) and torch.allclose(sampled[i], trained[i], atol=3e-5 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_half_the_strength_is_half_way_to_the_weights(kind, model, inputs):
    with injected(model, KINDS[kind], MODULES, 0, torch.float32) as lora:
        randomise(lora)
        weights = {m: trained_weight(lora, m).detach() for m in MODULES}
        adapter = lora.extract("mine", "2.0")
    with applied(model, [(adapter, 0.5)]):
        sampled = forward(model, inputs)
    for module, weight in weights.items():
        model.get_submodule(module).weight.data.lerp_(weight, 0.5)
    for a, b in zip(sampled, forward(model, inputs), strict=True):
        assert torch.allclose(a, b, atol=5e-5 * b.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_continued_from_where_it_was(kind, model, inputs):
    with injected(model, KINDS[kind], MODULES, 0, torch.float32) as lora:
        randomise(lora)
        before, adapter = {n: p.detach().clone() for n, p in lora.parameters.items()}, lora.extract("mine", "2.0")
    with injected(model, KINDS[kind], MODULES, 1, torch.float32) as lora:
        lora.load(adapter)
        for name, parameter in lora.parameters.items():
            assert torch.allclose(parameter, before[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("kind", ["dora", "loha", "lokr"])
def test_every_parameter_gets_the_gradient_of_finite_differences(kind, model, inputs):
    """Directional derivative along a random direction, central differences in float64 arithmetic of the difference."""
    objective = Objective()
    with injected(model, KINDS[kind], preset_modules("video", 2)[:2], 0, torch.float32) as lora:
        randomise(lora)
        engine = EagerEngine(model, objective, torch.device("cpu"), False)
        engine(inputs)
        if kind == "dora":  # the norm counts as constant in the paper, so only the magnitude has the true derivative
            names = [n for n in lora.parameters if n.endswith("magnitude")]
        else:
            names = list(lora.parameters)
        for name in names:
            parameter = lora.parameters[name]
            direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            slope, losses, step = (parameter.grad * direction).sum().item(), [], 3e-3
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.add_(sign * step * direction)
                    losses.append(engine.evaluate(inputs).total.double().item())
                    parameter.sub_(sign * step * direction)
            assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(slope, rel=2e-2, abs=2e-4)


def test_a_file_with_alpha_is_read_with_its_scale(tmp_path):
    """lycoris' own files keep alpha beside the factors; theirs divide by the rank of the factored matrix."""
    from lycoris.modules.loha import LohaModule
    from lycoris.modules.lokr import LokrModule
    from safetensors.torch import save_file

    torch.manual_seed(0)
    for kind, options in ((LohaModule, {}), (LokrModule, {"factor": 4}), (LokrModule, {"factor": 4, "decompose_both": True})):
        theirs = kind("x", torch.nn.Linear(32, 48), lora_dim=2, alpha=7, **options)
        for p in theirs.parameters():
            torch.nn.init.normal_(p)
        key = "diffusion_model.transformer_blocks.0.attn1.to_q"
        save_file({f"{key}.{n}": t.contiguous() for n, t in theirs.custom_state_dict().items()}, tmp_path / "a.safetensors")
        layer = load_adapter(tmp_path / "a.safetensors").layers["transformer_blocks.0.attn1.to_q"]
        expected = theirs.get_weight((48, 32)).detach()
        assert torch.allclose(layer.delta(), expected, rtol=1e-4, atol=1e-5)
        x = torch.randn(2, 3, 32)
        assert torch.allclose(layer.act(x), x @ expected.T, rtol=1e-3, atol=1e-3)


def test_written_files_have_no_alpha(model, tmp_path):
    for kind, settings in KINDS.items():
        with injected(model, settings, MODULES[:1], 0, torch.float32) as lora:
            path = save_adapter(tmp_path / "a.safetensors", lora.extract("a", "2.0"))
        state = load_file(path)
        assert not [k for k in state if "alpha" in k]
        if kind == "dora":
            out = model.get_submodule(MODULES[0]).out_features
            assert [tuple(t.shape) for k, t in state.items() if k.endswith("dora_scale")] == [(out, 1)]


def test_a_run_of_each_kind_goes_on_and_ends(model, make_cache, tmp_path, surroundings):
    cache = make_cache(tmp_path / "cache")
    for kind in ("dora", "lokr", "loha"):
        settings = TrainSettings(steps=3, warmup=0, learning_rate=1e-2, dtype="float32", validation_clips=0)
        run = RunConfig(LoRASettings(rank=2, kind=kind, targets="video"), settings)
        first = train(run, model, cache, directory=tmp_path / kind, **surroundings)
        again = train(run, model, cache, directory=tmp_path / kind, **surroundings)
        for module, layer in first.adapter.layers.items():
            assert all(torch.equal(t, again.adapter.layers[module].tensors()[n]) for n, t in layer.tensors().items())
            assert layer.delta().abs().max() > 0


@pytest.mark.parametrize("ending", ["", ".weight", ".default.weight"])
def test_a_dora_that_peft_wrote_acts_continues_and_goes_back(ending, model, inputs, tmp_path):
    """Magnitudes in place of scales; the file of diffusers and peft, by peft itself."""
    theirs = copy.deepcopy(model)
    theirs.add_adapter(LoraConfig(r=3, lora_alpha=6, use_dora=True, target_modules=list(MODULES)))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_" in name:
                noise = torch.randn(p.shape, generator=generator)
                p.copy_(p * (1 + 0.2 * noise) if "magnitude" in name else noise * 0.5)
    expected, base = forward(theirs, inputs), forward(model, inputs)
    state = {f"transformer.{k.removesuffix('.weight') + ending if 'magnitude' in k else k}": t.contiguous() for k, t in get_peft_model_state_dict(theirs, adapter_name="default").items()}
    assert sum("magnitude" in key for key in state) == len(MODULES)
    save_file(state, tmp_path / "peft.safetensors", {"lora_adapter_metadata": json.dumps({"transformer.r": 3, "transformer.lora_alpha": 6})})
    loaded = load_adapter(tmp_path / "peft.safetensors")
    back = load_adapter(save_adapter(tmp_path / "back.safetensors", loaded, torch.float32, "diffusers"))
    with injected(model, KINDS["dora"], MODULES, 1, torch.float32) as lora:
        lora.load(loaded)
        continued, ours = forward(model, inputs), lora.extract("mine", "2.0")
    for adapter in (loaded, back, ours):
        with applied(model, [(adapter, 1.0)]):
            sampled = forward(model, inputs)
        for a, b, c, plain in zip(sampled, expected, continued, base, strict=True):
            assert (b - plain).abs().max() > 0.05 * b.abs().max() and torch.allclose(a, b, atol=3e-5 * b.abs().max()) and torch.allclose(c, b, atol=3e-5 * b.abs().max())
    again = copy.deepcopy(model)
    again.load_lora_adapter(str(tmp_path), weight_name="back.safetensors", prefix="transformer")
    for a, b in zip(forward(again, inputs), expected, strict=True):
        assert torch.allclose(a, b, atol=3e-5 * b.abs().max()), "diffusers' own loader"
    assert inspect_adapter(tmp_path / "peft.safetensors").kind == "DoRA"
    with pytest.raises(LTX2Error, match="depends on the base weights; it acts in Apply LTX-2 Adapters, or choose the naming diffusers"):
        save_adapter(tmp_path / "x.safetensors", loaded)
    with pytest.raises(LTX2Error, match="DoRA can't be merged"):
        resize(loaded, rank=1)


def test_another_kind_or_rank_is_refused(model):
    with injected(model, KINDS["loha"], MODULES[:1], 0, torch.float32) as lora:
        adapter = lora.extract("mine", "2.0")
    for settings in (KINDS["lora"], LoRASettings(rank=4, kind="loha")):
        with injected(model, settings, MODULES[:1], 0, torch.float32) as lora, pytest.raises(LTX2Error, match="set rank to 3"):
            lora.load(adapter)


def test_kinds_of_tensors():
    layer = from_tensors({"lora_A.weight": torch.eye(2), "lora_B.weight": torch.eye(2), "dora_scale": torch.ones(2, 1)}, 3.0)
    assert torch.equal(layer.delta(), 3 * torch.eye(2)) and layer.tensors().keys() == {"lora_A.weight", "lora_B.weight", "dora_scale"}


def test_dropout_of_a_kind_without_it():
    with pytest.raises(LTX2Error, match="dropout"):
        LoRASettings(kind="loha", dropout=0.1)
