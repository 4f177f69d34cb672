"""To ComfyUI's own LTX-2 nodes and back."""

import shutil

import av
import numpy as np
import pytest
import torch
from comfy_host import SMALL, error_of, shipped
from PIL import Image
from safetensors.torch import load_file

from ltx2core.checkpoint.adapter import Adapter, save_adapter
from ltx2core.media.audio import decode_audio
from ltx2core.media.probe import probe
from ltx2core.tiny import NATIVE_DECODER, TinySize, write_tiny_checkpoint

pytestmark = pytest.mark.host

LOADERS = {
    "1": {"class_type": "LTX2LoadCheckpoint", "inputs": {"checkpoint": "ltx-2-19b-dev.safetensors", "weight_dtype": "float32", "hub_file": ""}},
    "2": {"class_type": "LTX2LoadTextEncoder", "inputs": {"text_encoder": "gemma_3_12B_it.safetensors"}},
    "3": {"class_type": "LTX2EncodePrompt", "inputs": {"checkpoint": ["1", 0], "text_encoder": ["2", 0], "prompt": "A red circle."}},
    "4": {
        "class_type": "LTX2SampleT2V",
        "inputs": {
            "checkpoint": ["1", 0], "positive": ["3", 0], **SMALL, "frame_rate": 25.0, "steps": 2, "seed": 3, "video_cfg": 1.0, "audio_cfg": 1.0,
            "schedule": "dynamic", "sampler": "euler",
        },
    },
    "5": {"class_type": "LTX2ToNativeLatent", "inputs": {"latents": ["4", 0]}},
}  # fmt: skip


def end(latent, prefix):
    """Nodes that bring a native latent back, decode it and save it."""
    return {
        "90": {"class_type": "LTX2FromNativeLatent", "inputs": {"latent": latent, "frame_rate": 25.0}},
        "91": {"class_type": "LTX2Decode", "inputs": {"checkpoint": ["1", 0], "latents": ["90", 0], "tiled": "auto"}},
        "92": {"class_type": "SaveVideo", "inputs": {"video": ["91", 2], "filename_prefix": prefix, "format": "auto", "codec": "auto"}},
    }


def saved(comfy, outputs):
    """Path of the video that a prompt saved."""
    entries = [e for node in outputs.values() for value in node.values() if isinstance(value, list) for e in value if isinstance(e, dict)]
    (entry,) = (e for e in entries if e.get("filename", "").endswith(".mp4"))
    return comfy.base / entry["type"] / entry["subfolder"] / entry["filename"]


def save_latent(number, latent, name):
    return {number: {"class_type": "SaveLatent", "inputs": {"samples": latent, "filename_prefix": name}}}


def read_latent(comfy, name):
    (path,) = (comfy.base / "output").glob(f"{name}_*.latent")
    return load_file(path)["latent_tensor"]


def test_latents_go_through_native_nodes_unchanged(comfy):
    graph = {
        **LOADERS,
        "6": {"class_type": "LTXVSeparateAVLatent", "inputs": {"av_latent": ["5", 0]}},
        "7": {"class_type": "LTXVConcatAVLatent", "inputs": {"video_latent": ["6", 0], "audio_latent": ["6", 1]}},
        "8": {"class_type": "LTX2FromNativeLatent", "inputs": {"latent": ["7", 0], "frame_rate": 25.0}},
        "9": {"class_type": "LTX2ToNativeLatent", "inputs": {"latents": ["8", 0]}},
        "10": {"class_type": "LTXVSeparateAVLatent", "inputs": {"av_latent": ["9", 0]}},
        **save_latent("11", ["6", 0], "before"), **save_latent("12", ["10", 0], "after"), **end(["7", 0], "bridge"),
    }  # fmt: skip
    info = probe(saved(comfy, comfy.run(graph)))
    assert (info.width, info.height, info.frames, info.has_audio) == (128, 96, 17, True)
    before, after = read_latent(comfy, "before"), read_latent(comfy, "after")
    assert before.shape == (1, 128, 3, 3, 4) and torch.equal(before, after)


def native(model, name, extra):
    """The host's own sampler and schedule on our conditioning and an empty native latent. ``model``: a wire; ``extra``: its nodes."""
    return {
        **{k: v for k, v in LOADERS.items() if k in "123"},
        "20": {"class_type": "UNETLoader", "inputs": {"unet_name": "ltx-2-19b-dev.safetensors", "weight_dtype": "default"}},
        "21": {"class_type": "LTX2ToNativeConditioning", "inputs": {"conditioning": ["3", 0], "frame_rate": 25.0}},
        "22": {"class_type": "EmptyLTXVLatentVideo", "inputs": {"width": 128, "height": 96, "length": 17, "batch_size": 1}},
        "23": {"class_type": "LTXVAudioVAELoader", "inputs": {"ckpt_name": "ltx-2-19b-dev.safetensors"}},
        "24": {"class_type": "LTXVEmptyLatentAudio", "inputs": {"frames_number": 17, "frame_rate": 25, "batch_size": 1, "audio_vae": ["23", 0]}},
        "25": {"class_type": "LTXVConcatAVLatent", "inputs": {"video_latent": ["22", 0], "audio_latent": ["24", 0]}},
        "26": {"class_type": "RandomNoise", "inputs": {"noise_seed": 5}},
        "27": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "28": {"class_type": "LTXVScheduler", "inputs": {"steps": 3, "max_shift": 2.05, "base_shift": 0.95, "stretch": True, "terminal": 0.1, "latent": ["25", 0]}},
        "29": {"class_type": "BasicGuider", "inputs": {"model": model, "conditioning": ["21", 0]}},
        "30": {"class_type": "SamplerCustomAdvanced", "inputs": {"noise": ["26", 0], "guider": ["29", 0], "sampler": ["27", 0], "sigmas": ["28", 0], "latent_image": ["25", 0]}},
        "31": {"class_type": "LTXVSeparateAVLatent", "inputs": {"av_latent": ["30", 0]}},
        **save_latent("32", ["31", 0], name), **end(["30", 0], name), **extra,
    }  # fmt: skip


@pytest.fixture(scope="module")
def adapter(comfy):
    """A random LoRA among the host's, and the transformer among its diffusion models."""
    generator = torch.Generator().manual_seed(1)
    layers = {
        f"transformer_blocks.{i}.{m}": (torch.randn(4, d, generator=generator) * 0.3, torch.randn(o, 4, generator=generator) * 0.3)
        for i in (0, 1)
        for m, d, o in (("attn1.to_q", 128, 128), ("attn2.to_v", 128, 128), ("audio_attn1.to_out.0", 64, 64))
    }
    # CheckpointLoaderSimple would load the video VAE too, whose decoder's width the host takes for granted.
    (comfy.base / "models" / "diffusion_models").mkdir(exist_ok=True)
    shutil.copyfile(comfy.base / "models" / "checkpoints" / "ltx-2-19b-dev.safetensors", comfy.base / "models" / "diffusion_models" / "ltx-2-19b-dev.safetensors")
    return save_adapter(comfy.base / "models" / "loras" / "bridge.safetensors", Adapter("bridge", layers, "2.0"), torch.float32)


def ours_on(model, strength=1.0, name="bridge.safetensors"):
    """Nodes that load an adapter here and put it on the host's model."""
    load = {"adapter": name, "strength": strength, "hub_file": "", "allow_download": False, "published": "(none)"}
    return {
        "40": {"class_type": "LTX2LoadAdapter", "inputs": load},
        "41": {"class_type": "LTX2AdapterToNativeModel", "inputs": {"model": model, "adapter": ["40", 0], "strength": 1.0}},
    }


def test_native_sampling_takes_our_conditioning_and_our_adapter(comfy, adapter):
    """The adapter as a file for the host's loader and on our wire: the same change."""
    begin = len(comfy.log)
    loader = {"33": {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["20", 0], "lora_name": "bridge.safetensors", "strength_model": 1.0}}}
    runs = {"native_base": (["20", 0], {}), "native_lora": (["33", 0], loader), "native_wire": (["41", 0], ours_on(["20", 0])), "native_off": (["41", 0], ours_on(["20", 0], 0.0))}
    for name, (model, extra) in runs.items():
        info = probe(saved(comfy, comfy.run(native(model, name, extra))))
        assert (info.width, info.height, info.frames, info.has_audio) == (128, 96, 17, True)
    base, lora, wire, off = (read_latent(comfy, name) for name in runs)
    assert base.isfinite().all() and (base - lora).abs().max() > 1e-2
    torch.testing.assert_close(wire, lora, atol=1e-5, rtol=1e-5)
    assert torch.equal(off, base)
    assert "lora key not loaded" not in comfy.log[begin:]


def test_an_adapter_of_another_model_is_refused_by_its_layer(comfy, adapter):
    pair = torch.zeros(4, 128), torch.zeros(128, 4)
    save_adapter(comfy.base / "models" / "loras" / "deep.safetensors", Adapter("deep", {"transformer_blocks.40.attn1.to_q": pair}, "2.0"))
    save_adapter(comfy.base / "models" / "loras" / "wide.safetensors", Adapter("wide", {"transformer_blocks.0.attn1.to_q": (torch.zeros(4, 64), pair[1])}, "2.0"))
    for name, said in (("deep", "transformer_blocks.40.attn1.to_q, which this model does not have"), ("wide", "which this model has as (128, 128) and not (128, 64)")):
        graph = native(["41", 0], name, ours_on(["20", 0], name=f"{name}.safetensors"))
        assert said in error_of(comfy.wait(comfy.submit(graph)))


def test_conditioning_comes_back_as_it_went(comfy):
    graph = {
        **LOADERS,
        "6": {"class_type": "LTX2ToNativeConditioning", "inputs": {"conditioning": ["3", 0], "frame_rate": 25.0}},
        "7": {"class_type": "LTX2FromNativeConditioning", "inputs": {"conditioning": ["6", 0]}},
        "8": {"class_type": "LTX2SampleT2V", "inputs": {**LOADERS["4"]["inputs"], "positive": ["7", 0]}},
    }
    for number, latents, name in (("1", ["4", 0], "direct"), ("2", ["8", 0], "returned")):
        graph[f"6{number}"] = {"class_type": "LTX2ToNativeLatent", "inputs": {"latents": latents}}
        graph[f"7{number}"] = {"class_type": "LTXVSeparateAVLatent", "inputs": {"av_latent": [f"6{number}", 0]}}
        graph |= save_latent(f"8{number}", [f"7{number}", 0], name)
    comfy.run(graph)
    assert torch.equal(read_latent(comfy, "direct"), read_latent(comfy, "returned"))
    both = {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["6", 0], "conditioning_2": ["6", 0]}}
    graph["7"] = {"class_type": "LTX2FromNativeConditioning", "inputs": {"conditioning": ["9", 0]}}
    assert "holds 2 prompts" in error_of(comfy.wait(comfy.submit({**graph, "9": both})))


@pytest.fixture(scope="module")
def whole(comfy):
    """A checkpoint whose video decoder is as wide as the host's own code has it."""
    write_tiny_checkpoint(comfy.base / "models" / "checkpoints" / "native.safetensors", TinySize(decoder=NATIVE_DECODER))
    return "native.safetensors"


def pictures(comfy, name):
    return np.stack([np.asarray(Image.open(p)).astype(int) for p in sorted((comfy.base / "output").glob(f"{name}_*.png"))])


def test_our_latents_go_into_the_hosts_sampler_and_decoders(comfy, whole):
    """The host decodes what we made to the same pictures and sound; its sampler goes on from our latents."""
    loaders = {**LOADERS, "1": {"class_type": "LTX2LoadCheckpoint", "inputs": {**LOADERS["1"]["inputs"], "checkpoint": whole}}}
    graph = {
        **loaders,
        "6": {"class_type": "LTX2Decode", "inputs": {"checkpoint": ["1", 0], "latents": ["4", 0], "tiled": "off"}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "ours"}},
        "8": {"class_type": "SaveAudio", "inputs": {"audio": ["6", 1], "filename_prefix": "ours"}},
        "10": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": whole}},
        "11": {"class_type": "LTXVAudioVAELoader", "inputs": {"ckpt_name": whole}},
        "12": {"class_type": "LTXVSeparateAVLatent", "inputs": {"av_latent": ["5", 0]}},
        "13": {"class_type": "VAEDecode", "inputs": {"samples": ["12", 0], "vae": ["10", 2]}},
        "14": {"class_type": "LTXVAudioVAEDecode", "inputs": {"samples": ["12", 1], "audio_vae": ["11", 0]}},
        "15": {"class_type": "SaveImage", "inputs": {"images": ["13", 0], "filename_prefix": "theirs"}},
        "16": {"class_type": "SaveAudio", "inputs": {"audio": ["14", 0], "filename_prefix": "theirs"}},
        "20": {"class_type": "LTX2ToNativeConditioning", "inputs": {"conditioning": ["3", 0], "frame_rate": 25.0}},
        "21": {"class_type": "BasicGuider", "inputs": {"model": ["10", 0], "conditioning": ["20", 0]}},
        "22": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "23": {"class_type": "RandomNoise", "inputs": {"noise_seed": 5}},
        "24": {"class_type": "ManualSigmas", "inputs": {"sigmas": "0.05, 0.02, 0"}},
        "25": {"class_type": "SamplerCustomAdvanced", "inputs": {"noise": ["23", 0], "guider": ["21", 0], "sampler": ["22", 0], "sigmas": ["24", 0], "latent_image": ["5", 0]}},
        "26": {"class_type": "LTXVSeparateAVLatent", "inputs": {"av_latent": ["25", 0]}},
        **save_latent("27", ["26", 0], "gone_on"), **save_latent("28", ["12", 0], "begun"), **end(["25", 0], "gone_on"),
    }  # fmt: skip
    assert probe(saved(comfy, comfy.run(graph))).frames == 17
    mine, theirs = pictures(comfy, "ours"), pictures(comfy, "theirs")
    assert mine.shape == theirs.shape == (17, 96, 128, 3) and mine.std() > 10
    assert np.abs(mine - theirs).max() <= 1  # SaveImage cuts where float32 sums differ in the last digit
    heard = [decode_audio(next((comfy.base / "output").glob(f"{name}_*.flac")), rate=24000).samples for name in ("ours", "theirs")]
    length = min(h.shape[1] for h in heard)
    assert length > 15000 and heard[0].std() > 1e-3 and (heard[0][:, :length] - heard[1][:, :length]).abs().max() < 2e-3
    begun, gone_on = read_latent(comfy, "begun"), read_latent(comfy, "gone_on")
    assert 1e-3 < (gone_on - begun).abs().mean() < 0.3 * begun.std()


def test_shipped_workflow(comfy, adapter, whole):
    shutil.copy(adapter, comfy.base / "models" / "loras" / "my_first_lora.safetensors")
    small = {
        **{kind: {"ckpt_name": whole} for kind in ("CheckpointLoaderSimple", "LTXVAudioVAELoader")}, "LTX2LoadCheckpoint": {"checkpoint": whole},
        "PrimitiveInt": {"value": 17}, "EmptyLTXVLatentVideo": {"width": 128, "height": 96}, "LTXVScheduler": {"steps": 2},
    }  # fmt: skip
    path = saved(comfy, comfy.run(shipped("native_sampling", **small)))
    info = probe(path)
    assert (info.width, info.height, info.frames, info.frame_rate, info.has_audio) == (128, 96, 17, 25.0, True)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 17
