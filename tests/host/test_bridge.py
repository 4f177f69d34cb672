"""To ComfyUI's own LTX-2 nodes and back."""

import shutil

import pytest
import torch
from comfy_host import SMALL
from safetensors.torch import load_file

from ltx2core.checkpoint.adapter import Adapter, save_adapter
from ltx2core.media.probe import probe

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


def native(adapter=None, name=""):
    """The host's own model, sampler and schedule on our conditioning and an empty native latent."""
    model = ["20", 0]
    graph = {
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
        "30": {"class_type": "SamplerCustomAdvanced", "inputs": {"noise": ["26", 0], "guider": ["29", 0], "sampler": ["27", 0], "sigmas": ["28", 0], "latent_image": ["25", 0]}},
        "31": {"class_type": "LTXVSeparateAVLatent", "inputs": {"av_latent": ["30", 0]}},
        **save_latent("32", ["31", 0], name), **end(["30", 0], name),
    }  # fmt: skip
    if adapter:
        graph["33"] = {"class_type": "LoraLoaderModelOnly", "inputs": {"model": model, "lora_name": adapter, "strength_model": 1.0}}
        model = ["33", 0]
    graph["29"] = {"class_type": "BasicGuider", "inputs": {"model": model, "conditioning": ["21", 0]}}
    return graph


def test_native_sampling_takes_our_conditioning_and_our_adapter(comfy):
    generator = torch.Generator().manual_seed(1)
    layers = {
        f"transformer_blocks.{i}.{m}": (torch.randn(4, d, generator=generator) * 0.3, torch.randn(o, 4, generator=generator) * 0.3)
        for i in (0, 1)
        for m, d, o in (("attn1.to_q", 128, 128), ("attn2.to_v", 128, 128), ("audio_attn1.to_out.0", 64, 64))
    }
    # CheckpointLoaderSimple would load the video VAE too, whose decoder's width the host takes for granted.
    (comfy.base / "models" / "diffusion_models").mkdir(exist_ok=True)
    shutil.copyfile(comfy.base / "models" / "checkpoints" / "ltx-2-19b-dev.safetensors", comfy.base / "models" / "diffusion_models" / "ltx-2-19b-dev.safetensors")
    save_adapter(comfy.base / "models" / "loras" / "bridge.safetensors", Adapter("bridge", layers, "2.0"))
    begin = len(comfy.log)
    for adapter, name in ((None, "native_base"), ("bridge.safetensors", "native_lora")):
        info = probe(saved(comfy, comfy.run(native(adapter, name))))
        assert (info.width, info.height, info.frames, info.has_audio) == (128, 96, 17, True)
    base, changed = read_latent(comfy, "native_base"), read_latent(comfy, "native_lora")
    assert base.isfinite().all() and (base - changed).abs().max() > 1e-2
    assert "lora key not loaded" not in comfy.log[begin:]
