"""Every shipped workflow as it is shipped, on tiny models under the names that it gives: sizes, steps and seeds are its own. With --as-shipped."""

import json
import time

import pytest
import torch
from comfy_host import PACK, ComfyHost, error_of, shipped
from given_base import fill_base
from given_files import write_given

from ltx2core.checkpoint.adapter import Adapter, load_adapter, save_adapter
from ltx2core.media.probe import probe
from ltx2core.media.write import write_video
from ltx2core.tiny import NATIVE_DECODER, TinySize, write_tiny_checkpoint
from ltx2core.tiny_upscaler import write_tiny_upscaler

pytestmark = pytest.mark.host
# Run to their end.
WHOLE = ["simpletuner_import", "text_to_video", "image_to_video", "sound_to_video", "reference_video", "native_sampling", "first_lora", "voice", "two_stages"]
# 2000 steps, or 24 clips: hours on a processor. They are seen to cache at their full size and to take their first steps, then stopped as a person would.
BEGUN = ["subject_24gb", "style_with_sound", "image_to_video_lora", "ic_lora", "continue_run", "validation"]
# Streams blocks, which takes a card.
ON_A_CARD = ["lowest_vram"]
LORAS = {"first_lora": "my_first_lora", "voice": "my_voice", "simpletuner_import": "taken_over"}
NATIVE = {"CheckpointLoaderSimple": {"ckpt_name": "native.safetensors"}, "LTXVAudioVAELoader": {"ckpt_name": "native.safetensors"}, "LTX2LoadCheckpoint": {"checkpoint": "native.safetensors"}}


@pytest.fixture(scope="module")
def host(request, comfy_root, tmp_path_factory):
    """A ComfyUI of these tests' own, since graphs that are run as they are share names with others."""
    if not request.config.getoption("--as-shipped"):
        pytest.skip("takes an hour; with --as-shipped")
    base = tmp_path_factory.mktemp("unchanged")
    fill_base(base)
    write_given(base / "input")
    # As long as the clips that follow it.
    write_video(base / "input" / "example.mp4", torch.arange(0, 125, dtype=torch.uint8)[:, None, None, None].expand(-1, 96, 128, 3), 25.0)
    loras, upscalers = base / "models" / "loras", base / "models" / "latent_upscale_models"
    upscalers.mkdir(parents=True)
    write_tiny_upscaler(upscalers / "ltx-2-spatial-upscaler-x2-1.0.safetensors")
    # Wide enough for the host's own decoder.
    write_tiny_checkpoint(base / "models" / "checkpoints" / "native.safetensors", TinySize(decoder=NATIVE_DECODER))
    pair = torch.ones(2, 128) * 0.1, torch.ones(128, 2) * 0.1
    named = {"my_first_lora": {}, "my_style": {}, "ltx-2-19b-distilled-lora-384": {}, "ltx-2-19b-ic-lora-canny-control": {"reference_downscale_factor": "2"}}
    for name, metadata in named.items():
        save_adapter(loras / f"{name}.safetensors", Adapter(name, {"transformer_blocks.0.attn1.to_q": pair}, "2.0", metadata))
    with ComfyHost(base, comfy_root) as running:
        yield running


def steps_of(host, name):
    path = host.base / "output" / "ltx2_runs" / name / "metrics.jsonl"
    return sum(json.loads(line)["event"] == "step" for line in path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0


def test_every_workflow_is_here():
    assert sorted([*WHOLE, *BEGUN, *ON_A_CARD]) == sorted(p.stem for p in (PACK / "workflows" / "api").glob("*.json"))


@pytest.mark.parametrize("name", WHOLE)
def test_runs_to_its_end(host, name):
    outputs = host.run(shipped(name, **(NATIVE if name == "native_sampling" else {})), seconds=3600)
    if name in LORAS:
        assert load_adapter(host.base / "models" / "loras" / f"{LORAS[name]}.safetensors").layers
    for entry in (e for node in outputs.values() for e in node.get("images", []) if e["type"] == "output" and e["filename"].endswith(".mp4")):
        assert probe(host.base / "output" / entry["subfolder"] / entry["filename"]).has_audio


@pytest.mark.parametrize("name", BEGUN)
def test_begins_and_can_be_stopped(host, name):
    prompt = shipped(name)
    inputs = [n["inputs"] for n in prompt.values() if n["class_type"] in ("LTX2TrainLoRA", "LTX2TrainSegment", "LTX2Validate")]
    prompt_id, run = host.submit(prompt), inputs[0]["name"]
    before, cells = steps_of(host, run), host.base / "output" / "ltx2_validation" / run
    end = time.monotonic() + 1800
    while steps_of(host, run) < before + 3 and not list(cells.glob("*__*.mp4")) and time.monotonic() < end:
        found = host.history(prompt_id)
        assert not found or found["status"].get("completed") is None, error_of(found)
        time.sleep(0.5)
    host.interrupt()
    assert error_of(host.wait(prompt_id, 600)) == "interrupted"
    assert list(cells.glob("*__*.mp4")) if name == "validation" else steps_of(host, run) >= before + 3


@pytest.mark.parametrize("name", ON_A_CARD)
def test_streaming_says_that_it_takes_a_card(host, name):
    """Up to there everything of it has run."""
    if torch.cuda.is_available():
        pytest.skip("there is a card; tests/memory streams on it")
    assert "Streaming needs a graphics card" in error_of(host.wait(host.submit(shipped(name)), 1800))
