"""Inspect, convert, merge and resize, judged by the weights' changes and by what diffusers itself makes of a file."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx2core.checkpoint.adapter import Adapter, load_adapter, save_adapter
from ltx2core.checkpoint.adapter_info import describe_adapter, inspect_adapter, reference_factors
from ltx2core.checkpoint.adapter_layers import DoRALayer, LoHaLayer, LoKrLayer
from ltx2core.checkpoint.adapter_tools import merge, resize
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.cli import main
from ltx2core.errors import LTX2Error
from ltx2core.models.build import load_transformer
from ltx2core.tiny import write_tiny_checkpoint

Q, FF, TOP = "transformer_blocks.0.attn1.to_q", "transformer_blocks.1.ff.net.2", "proj_in"
SIZES = {Q: (128, 128), FF: (128, 512), TOP: (128, 128)}


def lora(seed=0, rank=4, modules=(Q, FF, TOP), name="a", **rest):
    generator = torch.Generator().manual_seed(seed)
    layers = {m: (torch.randn(rank, SIZES[m][1], generator=generator), torch.randn(SIZES[m][0], rank, generator=generator)) for m in modules}
    return Adapter(name, layers, rest.get("family", "2.0"), rest.get("metadata", {}))


def change(adapter, module):
    """[out, in] float64 of a plain LoRA; zero for a layer that it leaves alone."""
    if module not in adapter.layers:
        return torch.zeros(SIZES[module], dtype=torch.float64)
    down, up = adapter.layers[module]
    return up.double() @ down.double()


def close(a, b, tolerance=1e-4):
    assert (a - b).abs().max() <= tolerance * b.abs().max(), (a - b).abs().max() / b.abs().max()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("t") / "tiny.safetensors"))


def test_merge_side_by_side_is_the_sum_of_the_changes():
    a, b = lora(0, 4, (Q, FF)), lora(1, 6, (Q, TOP), "b")
    made = merge([(a, 0.7), (b, -0.4)], "both")
    assert made.energy is None and made.adapter.layers.keys() == {Q, FF, TOP} and made.adapter.layers[Q].rank == 10
    for module in SIZES:
        close(change(made.adapter, module), 0.7 * change(a, module) - 0.4 * change(b, module))


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_resize_is_the_nearest_of_its_rank(rank):
    """Against numpy's SVD of the whole product; the energy is that of the singular values it keeps."""
    a = lora(2, 8)
    made = resize(a, rank=rank)
    kept = total = 0.0
    least = 1.0
    for module in SIZES:
        u, s, v = torch.linalg.svd(change(a, module), full_matrices=False)
        close(change(made.adapter, module), u[:, :rank] * s[:rank] @ v[:rank])
        assert made.adapter.layers[module].rank == rank
        own, whole = (s[:rank] ** 2).sum().item(), (s**2).sum().item()
        kept, total, least = kept + own, total + whole, min(least, own / whole)
    assert made.energy.kept == pytest.approx(kept / total, rel=1e-4) and made.energy.least == pytest.approx(least, rel=1e-4)
    assert f"{made.energy.kept:.2%} of the energy is kept" in str(made.energy)


def test_what_training_folded_in_is_told_until_the_rank_is_another(tmp_path):
    said = {"lora_rank": "8", "lora_alpha_folded": "16", "adapter_kind": "lora", "reference_downscale_factor": "2"}
    trained = save_adapter(tmp_path / "mine.safetensors", lora(2, 8, metadata=said))
    assert "rank 8, alpha 16, folded in" in describe_adapter(inspect_adapter(trained))
    lower = resize(load_adapter(trained), rank=4).adapter
    assert lower.metadata.keys() & said.keys() == {"reference_downscale_factor"}
    assert "rank 4, alpha folded in" in describe_adapter(inspect_adapter(save_adapter(tmp_path / "lower.safetensors", lower)))


def test_keeping_a_part_of_the_energy_takes_the_smallest_rank_that_does():
    a = lora(3, 8)
    made = resize(a, keep=0.8)
    for module in SIZES:
        squares = torch.linalg.svdvals(change(a, module)) ** 2
        rank = made.adapter.layers[module].rank
        assert squares[:rank].sum() >= 0.8 * squares.sum() > squares[: rank - 1].sum()
    assert resize(a, keep=1.0).energy.kept == pytest.approx(1.0)


def test_merge_to_a_rank_is_the_nearest_to_the_sum():
    a, b = lora(4, 4), lora(5, 4, name="b")
    made = merge([(a, 1.0), (b, 2.0)], "both", rank=3)
    u, s, v = torch.linalg.svd(change(a, Q) + 2 * change(b, Q), full_matrices=False)
    close(change(made.adapter, Q), u[:, :3] * s[:3] @ v[:3])
    assert 0 < made.energy.least <= made.energy.kept < 1


def test_lokr_and_loha_become_loras_by_their_own_formulas():
    generator = torch.Generator().manual_seed(6)
    make = lambda *s: torch.randn(*s, generator=generator)  # noqa: E731
    w1, w2, h = make(4, 4), make(32, 32), [make(128, 2), make(2, 128), make(128, 2), make(2, 128)]
    other = Adapter("mixed", {Q: LoKrLayer(w1, (w2,)), TOP: LoHaLayer(*h)}, "2.0")
    made = merge([(other, 0.5), (lora(7, 4, (Q,)), 1.0)], "as lora", rank=128)
    close(change(made.adapter, Q), 0.5 * torch.kron(w1, w2).double() + change(lora(7, 4, (Q,)), Q))
    close(change(made.adapter, TOP), 0.5 * ((h[0] @ h[1]) * (h[2] @ h[3])).double())
    with pytest.raises(LTX2Error, match="give a rank"):
        merge([(other, 1.0)], "x")


def test_what_cannot_be_merged_is_refused():
    dora = Adapter("dora", {TOP: DoRALayer(torch.ones(2, 128), torch.ones(128, 2), torch.ones(128, 1))}, "2.0")
    with pytest.raises(LTX2Error, match="DoRA can't be merged"):
        resize(dora, rank=1)
    with pytest.raises(LTX2Error, match="different models"):
        merge([(lora(), 1.0), (lora(family="2.3", name="b"), 1.0)], "x")
    with pytest.raises(LTX2Error, match="different scales"):
        merge([(lora(metadata={"reference_downscale_factor": "2"}), 1.0), (lora(name="b", metadata={"reference_downscale_factor": "1"}), 1.0)], "x")
    with pytest.raises(LTX2Error, match="strength of the adapter a is nan"):
        merge([(lora(), float("nan"))], "x")
    with pytest.raises(LTX2Error, match="different sizes"):
        merge([(lora(modules=(Q,)), 1.0), (Adapter("w", {Q: (torch.ones(2, 9), torch.ones(128, 2))}), 1.0)], "x")
    with pytest.raises(LTX2Error, match="at least 1"):
        resize(lora(), rank=0)
    with pytest.raises(LTX2Error, match="either a rank or"):
        resize(lora())
    with pytest.raises(LTX2Error, match="above 0 and up to 1"):
        resize(lora(), keep=95)


def test_merging_keeps_family_and_reference_factors():
    made = merge([(lora(metadata={"reference_downscale_factor": "2", "other": "x"}), 1.0), (lora(1, name="b"), 1.0)], "x")
    assert made.adapter.family == "2.0" and dict(made.adapter.metadata) == {"reference_downscale_factor": "2"}


@pytest.mark.parametrize("naming", ["original", "diffusers", "kohya"])
def test_convert_there_and_back_keeps_every_change(naming, tmp_path):
    a = lora(8, metadata={"reference_downscale_factor": "2"})
    save_adapter(tmp_path / "a.safetensors", a, torch.float32)
    assert main(["adapter", "convert", str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"), "--to", naming, "--dtype", "float32"]) == 0
    back = load_adapter(tmp_path / "b.safetensors")
    assert back.family == "2.0" and back.metadata["reference_downscale_factor"] == "2" and back.layers.keys() == a.layers.keys()
    for module in SIZES:
        assert torch.equal(change(back, module), change(a, module))
    assert inspect_adapter(tmp_path / "b.safetensors").naming == naming


def test_diffusers_own_loader_makes_the_same_change_of_our_diffusers_file(tiny, tmp_path):
    """Layers of different ranks, where a reader that takes one alpha for all would go wrong."""
    ranks = {Q: 4, FF: 6, TOP: 3}
    a = Adapter("a", {m: lora(i, r, (m,)).layers[m] for i, (m, r) in enumerate(ranks.items())}, "2.0")
    path = save_adapter(tmp_path / "a.safetensors", a, torch.float32, "diffusers")
    model = load_transformer(tiny, dtype=torch.float32)
    before = {m: model.get_submodule(m).weight.clone() for m in ranks}
    model.load_lora_adapter(str(tmp_path), weight_name=path.name, prefix="transformer")
    model.fuse_lora()
    for module in ranks:
        close((model.get_submodule(module).weight - before[module]).double(), change(a, module), 1e-3)


def test_kohya_files_carry_alphas_equal_to_the_rank(tmp_path):
    state = load_file(save_adapter(tmp_path / "a.safetensors", lora(9, 4), torch.float32, "kohya"))
    assert float(state["lora_unet_transformer_blocks_1_ff_net_2.alpha"]) == 4.0
    assert {k.split(".", 1)[1] for k in state} == {"lora_down.weight", "lora_up.weight", "alpha"}
    assert "lora_unet_patchify_proj.lora_down.weight" in state


def test_only_plain_loras_go_into_diffusers_naming(tmp_path):
    other = Adapter("kron", {Q: LoKrLayer(torch.ones(4, 4), (torch.ones(32, 32),))}, "2.0")
    with pytest.raises(LTX2Error, match="reads no LoKr, which kron is; .* or resize it to a LoRA first"):
        save_adapter(tmp_path / "a.safetensors", other, naming="diffusers")
    dora = Adapter("sized", {TOP: DoRALayer(torch.ones(2, 128), torch.ones(128, 2), torch.ones(128, 1))}, "2.0")
    with pytest.raises(LTX2Error, match="sized is a DoRA, .* original or kohya.$"):
        save_adapter(tmp_path / "a.safetensors", dora, naming="diffusers")
    assert torch.equal(load_adapter(save_adapter(tmp_path / "k.safetensors", other, torch.float32, "kohya")).layers[Q].delta(), other.layers[Q].delta())


@pytest.mark.parametrize("name", ["reference_downscale_factor", "reference_spatial_scale_factor", "ss_reference_downscale_factor"])
def test_every_spelling_of_a_reference_s_scale(name):
    assert reference_factors({name: "2"}) == (2, 1) and reference_factors({name: "2", "reference_temporal_scale_factor": "4"}) == (2, 4)


def test_a_dora_by_inputs_is_refused(tmp_path):
    """LyCORIS writes (1, in) without wd_on_output: in a square layer it would be taken for outputs."""
    state = {f"diffusion_model.{Q}.lora_A.weight": torch.zeros(2, 128), f"diffusion_model.{Q}.lora_B.weight": torch.zeros(128, 2)}
    for shape, fits in (((1, 128), False), ((128, 1), True), ((128,), True)):
        save_file({**state, f"diffusion_model.{Q}.dora_scale": torch.ones(shape)}, tmp_path / "d.safetensors")
        if fits:
            assert load_adapter(tmp_path / "d.safetensors").layers[Q].scale.shape == (128, 1)
        else:
            with pytest.raises(LTX2Error, match=r"dora_scale of shape \(1, 128\), and one number for each output is read"):
                load_adapter(tmp_path / "d.safetensors")


def test_inspect_reads_what_the_file_says(tmp_path, capsys):
    state = {f"lora_unet_transformer_blocks_{i}_attn1_to_q.{n}": t for i in (0, 1) for n, t in (("lora_down.weight", torch.zeros(8, 128)), ("lora_up.weight", torch.zeros(128, 8)), ("alpha", torch.tensor(16.0)))}
    path = tmp_path / "mine.safetensors"
    save_file(state, path, metadata={"reference_downscale_factor": "2", "reference_temporal_scale_factor": "4", "model_version": "2.3.rc1"})
    info = inspect_adapter(path)
    assert (info.kind, info.naming, info.ranks, info.alphas, info.layers, info.blocks) == ("LoRA", "kohya", (8,), (16.0,), 2, 2)
    assert info.targets == {"attn1.to_q": 2} and info.reference == (2, 4) and info.family == "2.3"
    assert info.parameters == 2 * (2 * 8 * 128 + 1) and info.dtypes == ("F32",)
    assert "LTX-2 2.3" in describe_adapter(info) and "1/2 of the clip's size, every 4. frame" in describe_adapter(info)
    assert main(["adapter", "inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["alphas"] == [16.0]


@pytest.mark.parametrize(
    ("name", "metadata", "keys", "family"),
    [
        ("a", {"model_version": "2.4-rc2"}, (), "2.5"),
        ("a", {"ss_base_model_version": "ltx2.3"}, (), "2.3"),
        ("a", {"modelspec.architecture": "ltx-2/lora"}, (), "2.0"),
        ("a", {"base_model": "Lightricks/LTX-2.3"}, (), "2.3"),
        ("a", {}, ("transformer_blocks.0.attn1.to_gate_logits",), "2.3"),
        ("ltx-2.3-22b-distilled-lora-384", {}, (), "2.3"),
        ("ltx-2-19b-distilled-lora-384", {}, (), "2.0"),
        ("my ltx-2.3 look", {}, (), None),
        ("a", {}, (), None),
    ],
)
def test_family_by_everything_the_file_says(tmp_path, name, metadata, keys, family):
    path = tmp_path / f"{name}.safetensors"
    modules = (Q, *keys)
    save_file({f"diffusion_model.{m}.lora_{n}.weight": torch.zeros(2, 2) for m in modules for n in "AB"}, path, metadata=metadata)
    assert inspect_adapter(path).family == family
    if family in (None, "2.0"):
        assert load_adapter(path).family == family
    else:
        with pytest.raises(LTX2Error, match=rf"trained for LTX-2 {family}.*this model is LTX-2 2\.0"):
            load_adapter(path)


def test_peft_s_own_alpha_of_a_layer_is_taken(tmp_path):
    """As peft documents it: alpha_pattern names modules by their ends, others take lora_alpha."""
    state = {f"transformer.{m}.lora_{n}.weight": t for m, layer in lora(1).layers.items() for n, t in zip("AB", layer, strict=True)}
    info = {"r": 4, "lora_alpha": 4, "alpha_pattern": {"attn1.to_q": 12}}
    save_file(state, tmp_path / "p.safetensors", metadata={"lora_adapter_metadata": json.dumps({f"transformer.{k}": v for k, v in info.items()})})
    loaded = load_adapter(tmp_path / "p.safetensors")
    close(change(loaded, Q), 3 * change(lora(1), Q))
    close(change(loaded, FF), change(lora(1), FF))


@pytest.mark.parametrize("prefix", ["diffusion_model.", "lora_unet_", ""])
def test_layers_of_the_text_connectors_are_left_out_and_named(tmp_path, prefix):
    text = f"{prefix}text_embedding_projection.aggregate_embed" if prefix != "lora_unet_" else "lora_unet_text_embedding_projection_aggregate_embed"
    pair = {f"{text}.lora_A.weight": torch.ones(2, 8), f"{text}.lora_B.weight": torch.ones(8, 2)}
    own = {f"diffusion_model.{Q}.lora_{n}.weight": t for n, t in zip("AB", lora(1).layers[Q], strict=True)}
    save_file({**pair, **own}, tmp_path / "a.safetensors")
    loaded = load_adapter(tmp_path / "a.safetensors")
    assert set(loaded.layers) == {Q} and len(loaded.left_out) == 1 and loaded.left_out[0].startswith("text_embedding_projection")
    save_file(pair, tmp_path / "b.safetensors")
    with pytest.raises(LTX2Error, match="only the text connectors"):
        load_adapter(tmp_path / "b.safetensors")


def test_bad_reference_factor_is_named(tmp_path):
    save_adapter(tmp_path / "a.safetensors", lora(metadata={"reference_downscale_factor": "half"}))
    with pytest.raises(LTX2Error, match="reference_downscale_factor is 'half'"):
        inspect_adapter(tmp_path / "a.safetensors")


def test_command_line_merges_and_resizes(tmp_path, capsys):
    for i, name in enumerate("ab"):
        save_adapter(tmp_path / f"{name}.safetensors", lora(i, 4, name=name), torch.float32)
    a, b, out = (str(tmp_path / f"{n}.safetensors") for n in ("a", "b", "both"))
    assert main(["adapter", "merge", a, b, "--out", out, "--strength", "0.5", "-2", "--dtype", "float32"]) == 0
    close(change(load_adapter(out), FF), 0.5 * change(lora(0), FF) - 2 * change(lora(1), FF))
    assert "nothing is lost" in capsys.readouterr().out
    assert main(["adapter", "resize", out, str(tmp_path / "small.safetensors"), "--rank", "2"]) == 0
    assert "rank 2" in (said := capsys.readouterr().out) and "% of the energy is kept" in said
    assert main(["adapter", "resize", out, a, "--rank", "2"]) == 1 and "is there already" in capsys.readouterr().err
    assert main(["adapter", "merge", a, b, "--out", out, "--force", "--strength", "1"]) == 1 and "one strength for each" in capsys.readouterr().err
    assert main(["adapter", "convert", a, str(tmp_path / "x.pt")]) == 1 and "must end with .safetensors" in capsys.readouterr().err
