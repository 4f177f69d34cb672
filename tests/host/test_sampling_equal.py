"""Eight Euler steps with the host's own nodes and with ours: same noise, same features, same adapter, same latents."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx2core.checkpoint.adapter import Adapter, save_adapter
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.checkpoint.modules import ATTENTIONS, to_diffusers
from ltx2core.models.build import load_transformer
from ltx2core.models.forward import CROSS_TIMESTEP_RULES
from ltx2core.models.latents import unpack_audio, unpack_video
from ltx2core.sample.adapters import applied
from ltx2core.sample.conditions import Keyframe, audio_state, video_state
from ltx2core.sample.guidance import Guidance
from ltx2core.sample.loop import Denoiser, run_loop
from ltx2core.sample.settings import SampleSettings
from ltx2core.sample.sigmas import schedule
from ltx2core.text.features import TextFeatures
from ltx2core.tiny import TinySize, write_tiny_checkpoint

pytestmark = pytest.mark.host

SIZE = TinySize()
STEPS, CFG, STRENGTH, RANK = 8, 3.0, 0.7, 4
SETTINGS = SampleSettings(128, 96, 17, 24.0, steps=STEPS, video_cfg=CFG)
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def given():
    draw = torch.Generator().manual_seed(5)
    return {
        "noise.video": torch.randn(1, 128, *SETTINGS.latent_size, generator=draw),
        "noise.audio": torch.randn(1, 8, SETTINGS.audio_length, 16, generator=draw),
        "positive": torch.randn(1, 128, 2 * SIZE.caption_channels, generator=draw),
        "negative": torch.randn(1, 128, 2 * SIZE.caption_channels, generator=draw),
        "first_frame": torch.randn(1, 128, 1, *SETTINGS.latent_size[1:], generator=draw),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("equal")


@pytest.fixture(scope="module")
def checkpoint(folder):
    return open_checkpoint(write_tiny_checkpoint(folder / "tiny.safetensors", SIZE, dtype=torch.float32))


@pytest.fixture(scope="module")
def transformer(checkpoint):
    return load_transformer(checkpoint, dtype=torch.float32)


@pytest.fixture(scope="module")
def adapter(transformer):
    """Random matrices on every attention linear, as training with the widest attention targets makes them."""
    draw = torch.Generator().manual_seed(3)
    names = [f"transformer_blocks.{i}.{a}.{p}" for i in range(SIZE.layers) for a in ATTENTIONS for p in ("to_q", "to_k", "to_v", "to_out.0")]
    layers = {}
    for name in map(to_diffusers, names):
        outputs, inputs = transformer.get_submodule(name).weight.shape
        layers[name] = torch.randn(RANK, inputs, generator=draw) * inputs**-0.5, torch.randn(outputs, RANK, generator=draw) * 0.3
    return Adapter("random", layers, "2.0")


@pytest.fixture(scope="module")
def theirs(native_job, folder, checkpoint, given, adapter):
    """theirs(lora) -> what the host's nodes made, with the adapter or without."""
    save_file(given, folder / "inputs.safetensors")
    save_adapter(folder / "random.safetensors", adapter, torch.float32)
    known = {}

    def run(lora):
        if lora not in known:
            job = {
                "folder": str(folder), "checkpoint": checkpoint.path.name, "lora": lora, "strength": STRENGTH, "steps": STEPS,
                "cfg": CFG, "frame_rate": SETTINGS.frame_rate, "inputs": str(folder / "inputs.safetensors"), "outputs": str(folder / "outputs.safetensors"),
            }  # fmt: skip
            assert "lora key not loaded" not in native_job("native_sampling", job)
            known[lora] = load_file(folder / "outputs.safetensors")
        return known[lora]

    return run


@torch.no_grad()
def ours(transformer, given, rule, first_frame=None):
    keyframes = () if first_frame is None else (Keyframe(first_frame),)
    texts = [TextFeatures(*given[name].chunk(2, dim=-1)) for name in ("positive", "negative")]
    denoiser = Denoiser(transformer, *texts, *SETTINGS.guidance(), (0,), rule)
    sigmas = schedule("dynamic", STEPS, SETTINGS.tokens)
    video, audio = run_loop(denoiser, video_state(SETTINGS, given["noise.video"], keyframes), audio_state(given["noise.audio"]), sigmas)
    return {"video": unpack_video(video.tokens, *SETTINGS.latent_size), "audio": unpack_audio(audio.tokens)}


def distance(mine, host, run):
    return max((mine[k] - host[f"{run}.{k}"]).abs().max().item() for k in mine)


@pytest.fixture(scope="module")
def rule(transformer, given, theirs):
    """The cross-modal timestep rule that this host executes. Only clean tokens beside noisy ones tell the rules apart."""
    host = theirs(None)
    found = {r: distance(ours(transformer, given, r, given["first_frame"]), host, "i2v") for r in CROSS_TIMESTEP_RULES}
    fits = [r for r, d in found.items() if d <= TOLERANCE]
    assert len(fits) == 1, found
    print(f"This ComfyUI executes the cross-modal timestep rule {fits[0]!r}: {found}")
    return fits[0]


def test_schedules_are_equal(theirs):
    torch.testing.assert_close(schedule("dynamic", STEPS, SETTINGS.tokens), theirs(None)["sigmas"], atol=1e-5, rtol=0)


def test_text_to_video_is_equal_under_every_rule(transformer, given, theirs):
    host = theirs(None)
    found = {r: distance(ours(transformer, given, r), host, "t2v") for r in CROSS_TIMESTEP_RULES}
    print(f"T2V differs from this ComfyUI's by {found}")
    assert max(found.values()) <= TOLERANCE
    assert host["t2v.video"].std() > 0.1 and (host["t2v.video"] - host["i2v.video"]).abs().max() > 10 * TOLERANCE


def test_image_to_video_is_equal_under_the_hosts_rule(transformer, given, theirs, rule, record_property):
    record_property("host_cross_timestep_rule", rule)
    host = theirs(None)
    assert distance(ours(transformer, given, rule, given["first_frame"]), host, "i2v") <= TOLERANCE
    torch.testing.assert_close(host["i2v.video"][:, :, :1], given["first_frame"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("run", ["t2v", "i2v"])
def test_adapter_gives_the_same_change(transformer, given, theirs, rule, adapter, run):
    host, base = theirs("random.safetensors"), theirs(None)
    first = given["first_frame"] if run == "i2v" else None
    with applied(transformer, [(adapter, STRENGTH)], device=torch.device("cpu"), dtype=torch.float32):
        mine = ours(transformer, given, rule, first)
    assert distance(mine, host, run) <= TOLERANCE
    for stream in ("video", "audio"):
        assert (host[f"{run}.{stream}"] - base[f"{run}.{stream}"]).abs().max() > 50 * TOLERANCE


def test_guidance_is_what_the_host_calls_cfg():
    assert SETTINGS.guidance() == (Guidance(CFG), Guidance(CFG))
