"""Adapters from the canvas: loading, the ready list, several at once, IC-LoRA references and two stages, in a running ComfyUI."""

import pytest
import torch
from comfy_host import SMALL, error_of, shipped
from safetensors.torch import load_file

from ltx2core.checkpoint.adapter import Adapter, save_adapter
from ltx2core.demo_clips import write_demo_clips
from ltx2core.media.probe import probe
from ltx2core.tiny_upscaler import write_tiny_upscaler

pytestmark = pytest.mark.host

DISTILLED, EDGES, UPSCALER = "ltx-2-19b-distilled-lora-384.safetensors", "ltx-2-19b-ic-lora-canny-control.safetensors", "ltx-2-spatial-upscaler-x2-1.0.safetensors"
SETTINGS = {
    "preset": "custom", **SMALL, "frame_rate": 25.0, "seeds": "3", "steps": 2, "video_cfg": 1.0, "audio_cfg": 1.0, "schedule": "dynamic", "sampler": "euler",
    "rescale": 0.0, "stg": 0.0, "stg_block": 0, "modality": 1.0, "av_cross_timestep": "official",
}  # fmt: skip
BASE = {
    "1": {"class_type": "LTX2LoadCheckpoint", "inputs": {"checkpoint": "ltx-2-19b-dev.safetensors", "weight_dtype": "float32", "hub_file": ""}},
    "2": {"class_type": "LTX2LoadTextEncoder", "inputs": {"text_encoder": "gemma_3_12B_it.safetensors"}},
    "3": {"class_type": "LTX2EncodePrompt", "inputs": {"checkpoint": ["1", 0], "text_encoder": ["2", 0], "prompt": "A red circle."}},
    "4": {"class_type": "LTX2SampleSettings", "inputs": SETTINGS},
}  # fmt: skip


def adapter(seed, metadata=None):
    generator = torch.Generator().manual_seed(seed)
    pair = (0.3 * torch.randn(4, 128, generator=generator), 0.3 * torch.randn(128, 4, generator=generator))
    return Adapter("a", {f"transformer_blocks.{i}.attn1.to_q": pair for i in (0, 1)}, "2.0", metadata or {})


@pytest.fixture(scope="module")
def files(comfy):
    """The published names, as files of this machine: the ready list finds them wherever they lie in models/loras."""
    loras, upscalers = comfy.base / "models" / "loras", comfy.base / "models" / "latent_upscale_models"
    upscalers.mkdir(parents=True, exist_ok=True)
    save_adapter(loras / "lightricks" / DISTILLED, adapter(1))
    save_adapter(loras / EDGES, adapter(2, {"reference_downscale_factor": "2"}))
    write_tiny_upscaler(upscalers / UPSCALER)


def load(published="(none)", name="(none)", strength=1.0, hub_file=""):
    return {"class_type": "LTX2LoadAdapter", "inputs": {"adapter": name, "strength": strength, "hub_file": hub_file, "allow_download": False, "published": published}}


def save(number, latents, name):
    return {
        f"{number}0": {"class_type": "LTX2ToNativeLatent", "inputs": {"latents": latents}},
        f"{number}1": {"class_type": "LTXVSeparateAVLatent", "inputs": {"av_latent": [f"{number}0", 0]}},
        f"{number}2": {"class_type": "SaveLatent", "inputs": {"samples": [f"{number}1", 0], "filename_prefix": name}},
    }


def saved(comfy, name):
    (path,) = (comfy.base / "output").glob(f"{name}_*.latent")
    return load_file(path)["latent_tensor"]


def text_of(outputs):
    return "\n".join(str(v) for node in outputs.values() for value in node.values() for v in value)


def test_the_distilled_adapter_of_the_ready_list_sets_sampling(comfy, files):
    """Its settings pass through Apply Adapters; the same graph with them set by hand gives the same latents."""
    chosen = {
        **BASE, "4": {"class_type": "LTX2SampleSettings", "inputs": {**SETTINGS, "video_cfg": 5.0, "audio_cfg": 7.0, "steps": 30}},
        "5": load("Distilled"),
        "6": {"class_type": "LTX2ApplyAdapters", "inputs": {"checkpoint": ["1", 0], "adapter_1": ["5", 0], "strength_1": 1.0, "settings": ["4", 0]}},
        "7": {"class_type": "LTX2Sample", "inputs": {"checkpoint": ["6", 0], "settings": ["6", 1], "positive": ["3", 0], "sound_fit": "fit_sound"}},
        "8": {"class_type": "PreviewAny", "inputs": {"source": ["5", 1]}}, **save("7", ["7", 0], "distilled"),
    }  # fmt: skip
    said = text_of(comfy.run(chosen))
    assert "rank 4" in said and "LTX-2 2.0" in said and "schedule distilled, steps 8, video_cfg 1" in said
    by_hand = {
        **chosen, "4": {"class_type": "LTX2SampleSettings", "inputs": {**SETTINGS, "preset": "distilled"}},
        "5": load(name=f"lightricks/{DISTILLED}"),
        "7": {"class_type": "LTX2Sample", "inputs": {"checkpoint": ["6", 0], "settings": ["4", 0], "positive": ["3", 0], "sound_fit": "fit_sound"}},
        **save("7", ["7", 0], "by_hand"),
    }  # fmt: skip
    comfy.run(by_hand)
    assert torch.equal(saved(comfy, "distilled"), saved(comfy, "by_hand"))


def test_reference_then_two_stages_to_a_file(comfy, files):
    """An IC-LoRA's reference at half scale, latents enlarged and refined, decoded with sound."""
    graph = {
        **BASE,
        "5": load("IC-LoRA Canny Control"),
        "6": {"class_type": "LTX2ApplyAdapters", "inputs": {"checkpoint": ["1", 0], "adapter_1": ["5", 0], "strength_1": 1.0, "settings": ["4", 0]}},
        "7": {"class_type": "EmptyImage", "inputs": {"width": 100, "height": 80, "batch_size": 20, "color": 0xFF}},
        "8": {"class_type": "LTX2SampleReference", "inputs": {"checkpoint": ["6", 0], "settings": ["6", 1], "positive": ["3", 0], "reference": ["7", 0], "reference_strength": 1.0}},
        "9": {"class_type": "LTX2LoadUpscaler", "inputs": {"upscaler": UPSCALER, "hub_file": "", "allow_download": False}},
        "10": {"class_type": "LTX2UpscaleLatents", "inputs": {"checkpoint": ["1", 0], "upscaler": ["9", 0], "latents": ["8", 0]}},
        "11": {"class_type": "LTX2RefineLatents", "inputs": {"checkpoint": ["6", 0], "latents": ["10", 0], "positive": ["3", 0], "seed": 1, "sigmas": "0.9, 0.4, 0", "keep_sound": True, "sampler": "euler"}},
        "12": {"class_type": "LTX2Decode", "inputs": {"checkpoint": ["1", 0], "latents": ["11", 0], "tiled": "auto"}},
        "13": {"class_type": "SaveVideo", "inputs": {"video": ["12", 2], "filename_prefix": "stages", "format": "auto", "codec": "auto"}},
        **save("8", ["8", 0], "small"), **save("11", ["11", 0], "large"),
    }  # fmt: skip
    comfy.run(graph)
    # 128 x 96 with a reference of half the size: sides are cut to multiples of 64.
    assert saved(comfy, "small").shape == (1, 128, 3, 2, 4) and saved(comfy, "large").shape == (1, 128, 3, 4, 8)
    (video,) = (comfy.base / "output").glob("stages_*.mp4")
    info = probe(video)
    assert (info.width, info.height, info.frames, info.has_audio) == (256, 128, 17, True)
    short = {**graph, "7": {"class_type": "EmptyImage", "inputs": {"width": 100, "height": 80, "batch_size": 12, "color": 0}}}
    assert "The reference video has 12 frames and the clip needs 17" in failed(comfy, short)


def failed(comfy, graph):
    return error_of(comfy.wait(comfy.submit(graph)))


@pytest.mark.parametrize(("name", "size"), [("two_stages", (128, 64)), ("reference_video", (128, 64))])
def test_shipped_workflows(comfy, files, name, size):
    """Sides of two stages and of this reference are multiples of 64, so 96 rows become 64."""
    save_adapter(comfy.base / "models" / "loras" / "my_first_lora.safetensors", adapter(4))
    film = write_demo_clips(comfy.base / "reference", seed=3, count=1)[0]
    (comfy.base / "input" / "example.mp4").write_bytes(film.read_bytes())
    comfy.run(shipped(name, LTX2SampleSettings={**SMALL, "steps": 1}))
    (video,) = (comfy.base / "output" / "ltx2").glob(f"{name}_*.mp4")
    info = probe(video)
    assert (info.width, info.height, info.frames, info.has_audio) == (*size, 17, True)


def test_an_adapter_trained_anew_is_read_again(comfy, files):
    """The same graph, queued again: nothing is loaded while the file is the same, and the new file acts once it is there."""
    path = comfy.base / "models" / "loras" / "again.safetensors"
    graph = {
        **BASE, "5": load(name="again.safetensors"),
        "6": {"class_type": "LTX2ApplyAdapters", "inputs": {"checkpoint": ["1", 0], "adapter_1": ["5", 0], "strength_1": 1.0}},
        "7": {"class_type": "LTX2Sample", "inputs": {"checkpoint": ["6", 0], "settings": ["4", 0], "positive": ["3", 0], "sound_fit": "fit_sound"}},
        **save("7", ["7", 0], "again"),
    }  # fmt: skip
    found = []
    for seed in (5, 5, 6):
        if seed != 5 or not found:
            save_adapter(path, adapter(seed))
        done = comfy.wait(comfy.submit(graph))
        cached = next(detail["nodes"] for kind, detail in done["status"]["messages"] if kind == "execution_cached")
        files_now = sorted((comfy.base / "output").glob("again_*.latent"))
        found.append(("5" in cached, load_file(files_now[-1])["latent_tensor"]))
    assert [cached for cached, _ in found] == [False, True, False]
    assert torch.equal(found[0][1], found[1][1]) and (found[2][1] - found[0][1]).abs().max() > 1e-3


def test_half_size_for_the_first_stage(comfy, files):
    graph = {
        **BASE, "4": {"class_type": "LTX2SampleSettings", "inputs": {**SETTINGS, "width": 200, "height": 128}},
        "5": {"class_type": "LTX2HalfSize", "inputs": {"settings": ["4", 0]}},
        "6": {"class_type": "LTX2Sample", "inputs": {"checkpoint": ["1", 0], "settings": ["5", 0], "positive": ["3", 0], "sound_fit": "fit_sound"}},
        **save("6", ["6", 0], "half"),
    }  # fmt: skip
    comfy.run(graph)
    assert saved(comfy, "half").shape == (1, 128, 3, 2, 3)


def test_what_is_not_there_is_said_and_nothing_is_downloaded(comfy, files):
    end = {"6": {"class_type": "PreviewAny", "inputs": {"source": ["5", 1]}}}
    assert "is not in the Hugging Face cache of this machine" in failed(comfy, {"5": load("Camera Static"), **end})
    assert "No adapter is chosen" in failed(comfy, {"5": load(), **end})
    assert "There is no file" in failed(comfy, {"5": load(hub_file="nowhere.safetensors"), **end})
    # Every repository may have a file of this name; only one that lies in the repository's folder is its own.
    save_adapter(comfy.base / "models" / "loras" / "dog" / "pytorch_lora_weights.safetensors", adapter(5))
    assert "is not in the Hugging Face cache" in failed(comfy, {"5": load(hub_file="someone/cat:pytorch_lora_weights.safetensors"), **end})
    assert "rank 4" in text_of(comfy.run({"5": load(hub_file="someone/dog:pytorch_lora_weights.safetensors"), **end}))
    asked = load(hub_file="Lightricks/nowhere:nowhere.safetensors")
    asked["inputs"]["allow_download"] = True  # this host's process has no network
    assert "The hub could not be reached for Lightricks/nowhere:nowhere.safetensors" in failed(comfy, {"5": asked, **end})
    assert "strength of the adapter ltx-2-19b-ic-lora-canny-control is nan" in failed(comfy, {"5": load(name=EDGES, strength=float("nan")), **end})
    path = comfy.base / "models" / "loras" / "ltx-2.3-22b-look.safetensors"
    save_adapter(path, adapter(3).__class__("b", adapter(3).layers))
    assert "was trained for LTX-2 2.3" in failed(comfy, {"5": load(hub_file=str(path)), **end})
