import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx2core.checkpoint import keymap
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.checkpoint.header import CheckpointError
from ltx2core.checkpoint.inspect import describe, inspect_checkpoint
from ltx2core.models.build import load_component, skeleton
from ltx2core.tiny import tiny_config, write_tiny_checkpoint


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny.safetensors", dtype=torch.float32)


def rewritten(tiny, path, change, metadata=None):
    state = load_file(tiny)
    change(state)
    save_file(state, path, metadata=metadata or {"config": json.dumps(tiny_config())})
    return path


@pytest.mark.parametrize("component", list(keymap.COMPONENTS))
def test_component_holds_the_file_s_numbers_under_both_names(tiny, component):
    checkpoint = open_checkpoint(tiny)
    module = load_component(checkpoint, component, dtype=torch.float32)
    names = keymap.COMPONENTS[component]
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    assert not any(t.is_meta or t.is_inference() for t in tensors.values())
    assert not any(p.requires_grad for p in module.parameters())
    with safe_open(tiny, framework="pt") as file:
        for key in checkpoint.tensors(component):
            assert torch.equal(file.get_tensor(key), tensors[names.to_module(key)]), key
            assert names.to_file(names.to_module(key)) == key


def test_layout_has_the_published_names(tiny):
    """Names taken from the published checkpoints' own listings, one of each kind."""
    keys = set(open_checkpoint(tiny).header.tensors)
    assert {
        "model.diffusion_model.patchify_proj.weight",
        "model.diffusion_model.adaln_single.emb.timestep_embedder.linear_1.weight",
        "model.diffusion_model.av_ca_a2v_gate_adaln_single.linear.bias",
        "model.diffusion_model.transformer_blocks.0.scale_shift_table_a2v_ca_video",
        "model.diffusion_model.transformer_blocks.1.audio_to_video_attn.q_norm.weight",
        "model.diffusion_model.transformer_blocks.1.ff.net.0.proj.weight",
        "model.diffusion_model.video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q.weight",
        "text_embedding_projection.aggregate_embed.weight",
        "vae.encoder.down_blocks.8.res_blocks.0.conv1.conv.weight",
        "vae.decoder.up_blocks.0.res_blocks.0.conv1.conv.weight",
        "vae.decoder.up_blocks.1.conv.conv.weight",
        "vae.per_channel_statistics.mean-of-means",
        "audio_vae.per_channel_statistics.std-of-means",
        "vocoder.conv_pre.weight",
        "vocoder.resblocks.0.convs1.0.weight",
    } <= keys


def test_weights_are_read_in_inference_mode_as_ordinary_tensors(tiny):
    with torch.inference_mode():
        module = load_component(open_checkpoint(tiny), "vocoder")
    assert not any(p.is_inference() for p in module.parameters())
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}


def drop(key):
    return lambda state: state.pop(key)


@pytest.mark.parametrize(
    "change,words",
    [
        (drop("model.diffusion_model.proj_out.bias"), "missing key model.diffusion_model.proj_out.bias"),
        (lambda s: s.update({"model.diffusion_model.extra.weight": torch.zeros(1)}), "unexpected key model.diffusion_model.extra.weight"),
        (lambda s: s.update({"model.diffusion_model.proj_out.bias": torch.zeros(7)}), r"proj_out.bias has shape \(7,\)"),
    ],
)
def test_every_key_is_checked_both_ways(tiny, tmp_path, change, words):
    path = rewritten(tiny, tmp_path / "bad.safetensors", change)
    with pytest.raises(CheckpointError, match=rf"bad\.safetensors, component transformer: .*{words}"):
        load_component(open_checkpoint(path), "transformer")


def test_unused_vae_statistics_of_the_real_file_are_dropped(tiny, tmp_path):
    path = rewritten(tiny, tmp_path / "a.safetensors", lambda s: s.update({"vae.per_channel_statistics.mean-of-stds": torch.zeros(128)}))
    load_component(open_checkpoint(path), "video_vae")


def test_fingerprint_follows_weights_of_its_component_only(tiny, tmp_path):
    def scaled(state):
        state["vae.decoder.conv_in.conv.weight"] *= 1.5

    other = open_checkpoint(rewritten(tiny, tmp_path / "b.safetensors", scaled))
    first = open_checkpoint(tiny)
    assert other.fingerprint("video_vae") != first.fingerprint("video_vae")
    assert other.fingerprint("audio_vae") == first.fingerprint("audio_vae")


def test_a_2_3_file_is_described_and_refused_by_name(tiny, tmp_path):
    config = tiny_config()
    config["transformer"] |= {"caption_proj_before_connector": True, "cross_attention_adaln": True}
    path = rewritten(tiny, tmp_path / "new.safetensors", lambda s: None, {"config": json.dumps(config), "model_version": "2.3.rc1"})
    record = inspect_checkpoint(path)
    assert record["version"] == "2.3" and not record["supported"] and "recognised" in describe(record)
    with pytest.raises(CheckpointError, match=r"LTX-2\.3 22B \(version 2\.3\)"):
        open_checkpoint(path)


def test_2_5_and_unknown_versions(tiny, tmp_path):
    path = rewritten(tiny, tmp_path / "x.safetensors", lambda s: None, {"config": json.dumps(tiny_config()), "model_version": "2.5"})
    assert inspect_checkpoint(path)["text_encoder"] == "gemma4"
    path = rewritten(tiny, tmp_path / "y.safetensors", lambda s: None, {"config": json.dumps(tiny_config()), "model_version": "9.1"})
    with pytest.raises(CheckpointError, match="version 9.1"):
        open_checkpoint(path)


def test_other_files_are_named_for_what_they_are(tmp_path):
    save_file({"model.diffusion_model.patchify_proj.weight": torch.zeros(2)}, tmp_path / "v.safetensors")
    with pytest.raises(CheckpointError, match="video-only LTX model"):
        open_checkpoint(tmp_path / "v.safetensors")
    save_file({"lora": torch.zeros(2)}, tmp_path / "l.safetensors")
    with pytest.raises(CheckpointError, match="not an LTX-2 checkpoint"):
        open_checkpoint(tmp_path / "l.safetensors")


def test_real_sizes_on_meta():
    """The 19B's parameter counts as published configurations give them (18.876 B, a block 386.1 M)."""
    from ltx2core.checkpoint.config import transformer_arguments
    from diffusers import LTX2VideoTransformer3DModel

    with torch.device("meta"):
        model = LTX2VideoTransformer3DModel(**transformer_arguments({"transformer": {"av_ca_timestep_scale_multiplier": 1000}}))
    assert round(sum(p.numel() for p in model.parameters()) / 1e9, 3) == 18.876
    assert len(model.state_dict()) == 3510


def test_skeleton_costs_no_memory(tiny):
    assert all(t.is_meta for t in skeleton(open_checkpoint(tiny), "video_vae").state_dict().values())
