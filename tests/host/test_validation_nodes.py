"""Validate and the nodes around it in a real ComfyUI: files, the graph inside them, going on, and every mode by its wires."""

import json
import shutil
from dataclasses import replace

import av
import pytest
import torch
from comfy_host import SMALL, error_of, shipped
from PIL import Image

from ltx2core.checkpoint.adapter import Adapter, load_adapter, save_adapter
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.media.audio import Waveform, decode_audio
from ltx2core.media.probe import probe
from ltx2core.media.video import decode_video
from ltx2core.media.write import write_audio
from ltx2core.models.build import load_transformer

pytestmark = pytest.mark.host

SETTINGS = {
    "preset": "custom", **SMALL, "frame_rate": 23.976, "seeds": "0", "steps": 2, "video_cfg": 3.0, "audio_cfg": 0.0, "schedule": "dynamic", "sampler": "euler",
    "rescale": 0.0, "stg": 0.0, "stg_block": 28, "modality": 1.0, "av_cross_timestep": "official",
}  # fmt: skip
LIBRARY = json.dumps({"circle": "A red circle.", "square": "A green square."})
LOADERS = {
    "1": {"class_type": "LTX2LoadCheckpoint", "inputs": {"checkpoint": "ltx-2-19b-dev.safetensors", "weight_dtype": "float32", "hub_file": ""}},
    "2": {"class_type": "LTX2LoadTextEncoder", "inputs": {"text_encoder": "gemma_3_12B_it.safetensors"}},
    "3": {"class_type": "LTX2SampleSettings", "inputs": SETTINGS},
    "4": {"class_type": "LTX2EncodePrompt", "inputs": {"checkpoint": ["1", 0], "text_encoder": ["2", 0], "prompt": "A red circle."}},
    "5": {"class_type": "LTX2EncodePrompt", "inputs": {"checkpoint": ["1", 0], "text_encoder": ["2", 0], "prompt": ""}},
}
SAMPLE = {"checkpoint": ["1", 0], "settings": ["3", 0], "positive": ["4", 0], "negative": ["5", 0], "sound_fit": "fit_sound"}
GRAPH = {
    **{k: LOADERS[k] for k in "123"},
    "6": {"class_type": "LTX2LoadAdapter", "inputs": {"adapter": "validated.safetensors", "strength": 1.0, "hub_file": "", "allow_download": False, "published": "(none)"}},
    "7": {
        "class_type": "LTX2PromptLibrary",
        "inputs": {"checkpoint": ["1", 0], "text_encoder": ["2", 0], "source": "text below", "prompts": LIBRARY, "file": "", "only": "", "negative": ""},
    },
    "8": {
        "class_type": "LTX2Validate",
        "inputs": {
            "checkpoint": ["1", 0], "settings": ["3", 0], "prompts": ["7", 0], "adapter_1": ["6", 0], "name": "first", "seeds": "1-2", "strengths": "1",
            "codec": "h264", "dataset_mode": "image to video", "clips": 2, "scores": True, "similarity_model": "",
        },
    },
}  # fmt: skip
WORKFLOW = {"nodes": [{"id": 8, "type": "LTX2Validate"}], "links": [], "version": 0.4}


@pytest.fixture(scope="module")
def adapter(comfy):
    """A random adapter among the host's loras."""
    model, draw, layers = load_transformer(open_checkpoint(comfy.base / "models" / "checkpoints" / "ltx-2-19b-dev.safetensors")), torch.Generator().manual_seed(0), {}
    for name in ("transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn2.to_v"):
        outputs, inputs = model.get_submodule(name).weight.shape
        layers[name] = 0.4 * torch.randn(4, inputs, generator=draw), 0.4 * torch.randn(outputs, 4, generator=draw)
    return save_adapter(comfy.base / "models" / "loras" / "validated.safetensors", Adapter("validated", layers, "2.0"))


def run_with_workflow(comfy, graph):
    """As the page queues a graph: with the workflow beside it."""
    body = {"prompt": graph, "client_id": "page", "extra_data": {"extra_pnginfo": {"workflow": WORKFLOW}}}
    done = comfy.wait(comfy.post("/prompt", body)["prompt_id"])
    assert done["status"]["status_str"] == "success", done["status"]
    return done["outputs"]


def tags(path):
    with av.open(str(path)) as container:
        return dict(container.metadata)


def graph_of(found):
    """The graph in a file's tags, without what the host itself notes beside a node's inputs."""
    return {k: {name: v for name, v in node.items() if name != "is_changed"} for k, node in json.loads(found["prompt"]).items()}


def test_validate_writes_cells_with_the_graph_inside_and_goes_on(comfy, adapter):
    outputs = run_with_workflow(comfy, GRAPH)
    folder = comfy.base / "output" / "ltx2_validation" / "first"
    (shown,) = outputs["8"]["ltx2_grid"]
    assert (shown["filename"], shown["subfolder"]) == ("grid.mp4", "ltx2_validation/first")
    cells = sorted(p for p in folder.glob("*.mp4") if "__" in p.name)
    assert len(cells) == 2 * 2 * 2
    for path in cells:
        found = tags(path)
        assert graph_of(found) == GRAPH and json.loads(found["workflow"]) == WORKFLOW
        recipe = json.loads(found["ltx2_recipe"])
        assert recipe["prompt"] in LIBRARY and ("validated" in path.name) == bool(recipe["adapters"])
        assert probe(path).frame_rate == pytest.approx(24000 / 1001, abs=1e-6) and probe(path).has_audio
    assert json.loads(tags(folder / "grid.mp4")["workflow"]) == WORKFLOW and (folder / "cells.csv").read_text(encoding="utf-8").count("\n") == 9
    # What the file says can be queued again as it is.
    times = {p: p.stat().st_mtime_ns for p in cells}
    cells[3].unlink()
    comfy.post("/free", {"unload_models": True, "free_memory": True})
    run_with_workflow(comfy, graph_of(tags(cells[0])))
    again = {p: p.stat().st_mtime_ns for p in cells}
    assert [p for p in cells if again[p] != times[p]] == [cells[3]]


def test_validate_on_a_cached_dataset(comfy, adapter):
    graph = {
        **GRAPH,
        "20": {"class_type": "LTX2VideoDataset", "inputs": {**comfy_defaults(comfy, "LTX2VideoDataset"), "folder": "ltx2_clips", **SMALL}},
        "21": {"class_type": "LTX2CacheDataset", "inputs": {**comfy_defaults(comfy, "LTX2CacheDataset"), "dataset": ["20", 0], "checkpoint": ["1", 0], "text_encoder": ["2", 0]}},
        "8": {**GRAPH["8"], "inputs": {**GRAPH["8"]["inputs"], "cache": ["21", 0], "name": "data", "dataset_mode": "image and sound to video", "seeds": "5", "scores": False}},
    }
    del graph["8"]["inputs"]["prompts"], graph["7"]
    # An IC-LoRA whose references are as large as the clips, which here are their own.
    seeing = replace(load_adapter(adapter), metadata={"reference_downscale_factor": "1"})
    save_adapter(adapter.with_name("seeing.safetensors"), seeing)
    graph["9"] = {**GRAPH["6"], "inputs": {**GRAPH["6"]["inputs"], "adapter": "seeing.safetensors"}}
    graph["8"]["inputs"] |= {"adapter_2": ["9", 0], "references": ["21", 0]}
    run_with_workflow(comfy, graph)
    folder = comfy.base / "output" / "ltx2_validation" / "data"
    assert len(list(folder.glob("*__original__*.mp4"))) == 2 and len(list(folder.glob("*__base__*.mp4"))) == 2
    for original in folder.glob("*__original__*.mp4"):
        (made,) = folder.glob(original.name.split("__")[0] + "__base__*.mp4")
        clip = next((comfy.base / "input" / "ltx2_clips").glob(original.name.split("__")[0] + ".*4"))
        pair = [decode_audio(p, rate=24000).samples for p in (clip, made)]
        length = min(p.shape[1] for p in pair)
        first, second = (p[:, :length] for p in pair)
        assert (first * second).sum() / (first.norm() * second.norm() + 1e-9) > 0.95  # the clip's own samples, not what the VAE made of them
    shown = {path.name.split("__")[1]: json.loads(tags(path)["ltx2_recipe"])["given"].get("reference") for path in folder.glob("*__seed5__*.mp4")}
    assert set(shown) == {"base", "validated", "seeing"} and [column for column, key in shown.items() if key] == ["seeing"]


def comfy_defaults(comfy, kind):
    """Values of a node's widgets as the page would send them."""
    given = comfy.object_info()[kind]["input"]
    found = {}
    for name, spec in {**given.get("required", {}), **given.get("optional", {})}.items():
        options = spec[1] if len(spec) > 1 else {}
        if "default" in options:
            found[name] = options["default"]
        elif isinstance(spec[0], list) and spec[0]:
            found[name] = spec[0][0]
    return found


@pytest.fixture(scope="module")
def media(comfy):
    Image.new("RGB", (200, 150), (200, 60, 40)).save(comfy.base / "input" / "example.png")
    write_audio(comfy.base / "input" / "example.wav", Waveform(0.2 * torch.sin(torch.arange(48000) / 15).repeat(2, 1), 48000))


def mode_graph(codec="h264", **wires):
    return {
        **LOADERS,
        "10": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
        "11": {"class_type": "LoadAudio", "inputs": {"audio": "example.wav"}},
        "12": {"class_type": "RepeatImageBatch", "inputs": {"image": ["10", 0], "amount": 9}},
        "13": {"class_type": "LTX2Keyframe", "inputs": {"image": ["10", 0], "frame": -1, "strength": 0.9}},
        "14": {"class_type": "LTX2Sample", "inputs": {**SAMPLE, **wires}},
        "15": {"class_type": "LTX2Decode", "inputs": {"checkpoint": ["1", 0], "latents": ["14", 0], "tiled": "auto"}},
        "16": {"class_type": "LTX2SaveVideo", "inputs": {"video": ["15", 2], "filename_prefix": "modes/clip", "codec": codec}},
        "17": {"class_type": "PreviewAny", "inputs": {"source": ["14", 1]}},
    }


@pytest.mark.parametrize(
    ("wires", "mode", "frames"),
    [
        ({}, "text to video", 17),
        ({"image": ["10", 0], "keyframes": ["13", 0], "audio": ["11", 0]}, "image and sound to video", 17),
        ({"video": ["12", 0]}, "video to sound", 9),
        ({"begin_images": ["12", 0], "begin_audio": ["11", 0]}, "extend to video", 17),
    ],
)
def test_mode_follows_the_wires(comfy, media, wires, mode, frames):
    outputs = comfy.run(mode_graph(**wires))
    assert outputs["17"]["text"] == [mode]
    (entry,) = outputs["16"]["images"]
    info = probe(comfy.base / "output" / entry["subfolder"] / entry["filename"])
    assert (info.frames, info.width, info.height, info.has_audio) == (frames, 128, 96, True) and info.frame_rate == pytest.approx(24000 / 1001, abs=1e-6)


@pytest.mark.parametrize(
    ("wires", "change", "said"),
    [
        ({"audio": ["11", 0], "sound_fit": "refuse"}, {}, "The sound lasts 1.00 s, the video 0.71 s; cut the sound"),
        ({"keyframes": ["13", 0]}, {"13": {"frame": 40}}, "at frame 40 and the clip has 17"),
        ({"keyframes": ["13", 0]}, {"13": {"strength": float("nan")}}, "strength of a picture is nan"),
        ({}, {"3": {"video_cfg": float("nan")}}, "not a number"),
        ({"image": ["10", 0], "begin_images": ["12", 0]}, {}, "A beginning and a first picture"),
        ({"video": ["12", 0], "audio": ["11", 0]}, {}, "only its sound is made"),
        ({}, {"3": {"seeds": "3-1"}}, "is empty or longer"),
    ],
)
def test_what_cannot_be_sampled_is_said(comfy, media, wires, change, said):
    graph = {k: {**v, "inputs": {**v["inputs"], **change.get(k, {})}} for k, v in mode_graph(**wires).items()}
    assert said in error_of(comfy.wait(comfy.submit(graph)))


def test_prores_and_the_frozen_video(comfy, media):
    outputs = comfy.run(mode_graph("prores", video=["12", 0]))
    (entry,) = outputs["16"]["images"]
    path = comfy.base / "output" / entry["subfolder"] / entry["filename"]
    assert path.suffix == ".mov" and json.loads(tags(path)["prompt"])["16"]["inputs"]["codec"] == "prores"
    frames = decode_video(path, frame_rate=23.976, num_frames=9).float()
    assert (frames - torch.tensor([200.0, 60, 40])).abs().mean() < 4


def test_every_seed_is_saved_and_sound_alone_is_heard(comfy):
    graph = {**mode_graph(), "3": {"class_type": "LTX2SampleSettings", "inputs": {**SETTINGS, "seeds": "3, 8"}}}
    for unused in ("10", "11", "12", "13"):
        del graph[unused]
    graph["16"] = {"class_type": "LTX2SaveVideo", "inputs": {"video": ["15", 3], "filename_prefix": "many/clip", "codec": "h264"}}
    graph["18"] = {"class_type": "LTX2SampleSound", "inputs": {k: SAMPLE[k] for k in ("checkpoint", "settings", "positive", "negative")}}
    graph["19"] = {"class_type": "SaveAudio", "inputs": {"audio": ["18", 0], "filename_prefix": "many/sound"}}
    outputs = comfy.run(graph)
    clips = [comfy.base / "output" / "many" / e["filename"] for e in outputs["16"]["images"]]
    assert len(clips) == 2 and len(outputs["19"]["audio"]) == 2
    first, second = (decode_video(c, frame_rate=23.976, num_frames=17).float() for c in clips)
    assert (first - second).abs().mean() > 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"8": {"seeds": "one"}}, "'one' is no seed"),
        ({"8": {"strengths": "strong"}}, "strengths is 'strong'"),
        ({"7": {"prompts": "{"}}, "no JSON of names and prompts"),
        ({"7": {"source": "file", "file": "nowhere.json"}}, "nowhere.json cannot be read"),
        ({"7": {"only": "triangle"}}, "no prompt called 'triangle'"),
        ({"8": {"scores": True, "similarity_model": "nowhere"}}, "no config.json"),
    ],
)
def test_bad_input_is_said_in_a_sentence(comfy, adapter, change, said):
    graph = {k: {**v, "inputs": {**v["inputs"], **change.get(k, {})}} for k, v in GRAPH.items()}
    assert said in error_of(comfy.wait(comfy.submit(graph)))


def test_shipped_workflow(comfy, adapter):
    for name in ("my_first_lora", "my_style"):
        lora = comfy.base / "models" / "loras" / f"{name}.safetensors"
        if not lora.is_file():
            shutil.copy(adapter, lora)
    graph = shipped("validation", LTX2SampleSettings={**SMALL, "steps": 1}, LTX2PromptLibrary={"only": "motion, music"}, LTX2Validate={"seeds": "1"})
    outputs = comfy.run(graph)
    folder = comfy.base / "output" / "ltx2_validation" / "side_by_side"
    assert [e["filename"] for node in outputs.values() for e in node.get("ltx2_grid", [])] == ["grid.mp4"]
    assert {tuple(p.name.split("__")[:2]) for p in folder.glob("*__*.mp4")} == {(prompt, column) for prompt in ("motion", "music") for column in ("base", "my_first_lora", "my_style")}
