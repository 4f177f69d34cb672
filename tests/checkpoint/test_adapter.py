import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ltx2core.checkpoint.adapter import Adapter, load_adapter, save_adapter
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.checkpoint.modules import linear_modules, to_diffusers, to_original
from ltx2core.errors import LTX2Error
from ltx2core.models.build import skeleton
from ltx2core.tiny import write_tiny_checkpoint

MODULES = {"transformer_blocks.1.attn1.to_q": "transformer_blocks.1.attn1.to_q", "proj_in": "patchify_proj", "time_embed.linear": "adaln_single.linear"}


def factors(seed=0):
    g = torch.Generator().manual_seed(seed)
    return {m: (torch.randn(4, 6, generator=g), torch.randn(5, 4, generator=g)) for m in MODULES}


def delta(adapter):
    return {m: up.float() @ down.float() for m, (down, up) in adapter.layers.items()}


def same(adapter, expected, scale=1.0):
    got = delta(adapter)
    return got.keys() == expected.keys() and all(torch.allclose(got[m], scale * u @ d, atol=1e-6) for m, (d, u) in expected.items())


def test_export_uses_original_names_and_no_alpha(tmp_path):
    path = save_adapter(tmp_path / "a.safetensors", Adapter("a", factors(), "2.0"), torch.float32)
    with safe_open(path, framework="pt") as f:
        assert set(f.keys()) == {f"diffusion_model.{o}.lora_{k}.weight" for o in MODULES.values() for k in "AB"}
        assert f.metadata()["ltx2_family"] == "2.0"
    assert same(load_adapter(path), factors())


@pytest.mark.parametrize("naming", ["original", "diffusers", "kohya", "kohya_diffusers", "peft"])
def test_reads_each_naming_and_folds_alpha(tmp_path, naming):
    state = {}
    for ours, original in MODULES.items():
        down, up = factors()[ours]
        base = {
            "original": f"diffusion_model.{original}",
            "diffusers": f"transformer.{ours}",
            "kohya": "lora_unet_" + original.replace(".", "_"),
            "kohya_diffusers": "lora_unet_" + ours.replace(".", "_"),
            "peft": f"base_model.model.{ours}",
        }[naming]
        names = (".lora_down.weight", ".lora_up.weight") if naming.startswith("kohya") else (".lora_A.weight", ".lora_B.weight")
        state |= {base + names[0]: down, base + names[1]: up, base + ".alpha": torch.tensor(8.0)}
    save_file(state, tmp_path / "x.safetensors")
    assert same(load_adapter(tmp_path / "x.safetensors"), factors(), scale=8 / 4)


@pytest.mark.parametrize("rslora,scale", [(False, 16 / 4), (True, 16 / 2)])
def test_alpha_in_peft_metadata(tmp_path, rslora, scale):
    state = {f"transformer.{m}.lora_{k}.weight": t for m, pair in factors().items() for k, t in zip("AB", pair, strict=True)}
    info = {"transformer.r": 4, "transformer.lora_alpha": 16, "transformer.use_rslora": rslora}
    save_file(state, tmp_path / "x.safetensors", metadata={"lora_adapter_metadata": json.dumps(info)})
    assert same(load_adapter(tmp_path / "x.safetensors"), factors(), scale)


def test_module_table_is_the_transformer_s_linears(tmp_path):
    model = skeleton(open_checkpoint(write_tiny_checkpoint(tmp_path / "t.safetensors")), "transformer")
    linears = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    table = linear_modules(2)
    assert {to_diffusers(m) for m in table} == linears
    assert all(to_original(to_diffusers(m)) == m for m in table)


def test_wrong_files_are_named(tmp_path):
    save_adapter(tmp_path / "a.safetensors", Adapter("a", factors(), "2.3"))
    with pytest.raises(LTX2Error, match=r"trained for LTX-2 2\.3"):
        load_adapter(tmp_path / "a.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "b.safetensors")
    with pytest.raises(LTX2Error, match="no LoRA layers"):
        load_adapter(tmp_path / "b.safetensors")
    save_file({"diffusion_model.proj_out.lora_A.weight": torch.zeros(2, 2), "diffusion_model.proj_out.lora_B.weight": torch.zeros(2, 3)}, tmp_path / "c.safetensors")
    with pytest.raises(LTX2Error, match="do not fit"):
        load_adapter(tmp_path / "c.safetensors")




def test_equal_adapters_are_equal_files(tmp_path):
    """Also with metadata of many keys, which the library orders differently at every call."""
    adapter = Adapter("a", factors(), "2.0", {f"key {i} é": f'"{i}"' for i in range(30)})
    files = [save_adapter(tmp_path / f"{i}.safetensors", adapter) for i in range(4)]
    assert len({f.read_bytes() for f in files}) == 1
    assert load_adapter(files[0]).metadata.items() >= adapter.metadata.items()
    assert load_adapter(save_adapter(tmp_path / "exact.safetensors", adapter, torch.float32)).ranks == (4,)
