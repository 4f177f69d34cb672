"""Our adapter files change the host's own LTX-2 model as they change ours, in float32."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx2core.checkpoint.adapter import Adapter, save_adapter
from ltx2core.checkpoint.adapter_layers import DoRALayer, LoHaLayer, LoKrLayer
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.checkpoint.modules import linear_modules, to_diffusers
from ltx2core.models.build import load_transformer
from ltx2core.models.forward import CROSS_TIMESTEP_RULES, Modality, denoise
from ltx2core.models.latents import audio_coords, pack_audio, pack_video, unpack_audio, unpack_video, video_coords
from ltx2core.sample.adapters import applied
from ltx2core.tiny import TinySize, write_tiny_checkpoint

pytestmark = pytest.mark.host

SIZE = TinySize()
FRAMES, HEIGHT, WIDTH, AUDIO_LENGTH, FRAME_RATE = 3, 3, 4, 17, 24.0
STRENGTH, RANK = 0.7, 4
# Velocities reach 5, and both sides sum float32 in different orders.
TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("native")


@pytest.fixture(scope="module")
def checkpoint(folder):
    return write_tiny_checkpoint(folder / "tiny.safetensors", SIZE, dtype=torch.float32)


@pytest.fixture(scope="module")
def transformer(checkpoint):
    return load_transformer(open_checkpoint(checkpoint), dtype=torch.float32)


def case(seed, sigma, audio_sigma):
    draw = torch.Generator().manual_seed(seed)
    return {
        "video": torch.randn(2, 128, FRAMES, HEIGHT, WIDTH, generator=draw),
        "audio": torch.randn(2, 8, AUDIO_LENGTH, 16, generator=draw),
        "text": torch.randn(2, 128, 2 * SIZE.caption_channels, generator=draw),
        "sigma": torch.tensor(sigma)[:, None],
        "audio_sigma": torch.tensor(audio_sigma)[:, None],
    }


# "independent" tells the rules of the audio-video cross-attention's timestep apart, "shared" does not.
CASES = {"shared": case(1, [0.9, 0.35], [0.9, 0.35]), "independent": case(2, [0.8, 0.3], [0.1, 0.95])}


@pytest.fixture(scope="module")
def adapter(transformer):
    """Random matrices on every linear layer that a set or a pattern can choose, large enough to be seen far above rounding."""
    draw = torch.Generator().manual_seed(3)
    layers = {}
    for name in map(to_diffusers, linear_modules(SIZE.layers)):
        outputs, inputs = transformer.get_submodule(name).weight.shape
        layers[name] = torch.randn(RANK, inputs, generator=draw) * inputs**-0.5, torch.randn(outputs, RANK, generator=draw) * 0.3
    return Adapter("random", layers, "2.0")


@pytest.fixture(scope="module")
def host(native_job, folder, checkpoint):
    """host(lora) -> (velocities by case and stream, what the host logged)."""
    save_file({f"{name}.{k}": v for name, given in CASES.items() for k, v in given.items()}, folder / "inputs.safetensors")

    def run(lora=None):
        job = {
            "checkpoint": str(checkpoint), "lora_folder": str(folder), "lora": lora, "strength": STRENGTH,
            "frame_rate": FRAME_RATE, "inputs": str(folder / "inputs.safetensors"), "outputs": str(folder / "outputs.safetensors"),
        }  # fmt: skip
        log = native_job("native_forward", job)
        return load_file(folder / "outputs.safetensors"), log

    return run


def ours(transformer, name, rule):
    given = CASES[name]
    video_text, audio_text = given["text"].chunk(2, dim=-1)
    coords = video_coords(2, FRAMES, HEIGHT, WIDTH, FRAME_RATE), audio_coords(2, AUDIO_LENGTH)
    video = Modality(pack_video(given["video"]), given["sigma"][:, 0], coords[0], video_text)
    audio = Modality(pack_audio(given["audio"]), given["audio_sigma"][:, 0], coords[1], audio_text)
    with torch.no_grad():
        video, audio = denoise(transformer, video, audio, av_cross_timestep=rule)
    return {f"{name}.video": unpack_video(video, FRAMES, HEIGHT, WIDTH), f"{name}.audio": unpack_audio(audio)}


def distance(a, b):
    return max((a[k] - b[k]).abs().max().item() for k in a)


@pytest.fixture(scope="module")
def base(host):
    return host()[0]


@pytest.fixture(scope="module")
def rule(transformer, base):
    """The rule that this version of the host follows; exactly one fits."""
    fits = [r for r in CROSS_TIMESTEP_RULES if distance(ours(transformer, "independent", r), base) < TOLERANCE]
    assert len(fits) == 1, {r: distance(ours(transformer, "independent", r), base) for r in CROSS_TIMESTEP_RULES}
    return fits[0]


def test_base_models_agree_under_every_rule_when_sigmas_are_shared(transformer, base):
    for rule in CROSS_TIMESTEP_RULES:
        assert distance(ours(transformer, "shared", rule), base) < TOLERANCE


def test_adapter_changes_the_hosts_model_as_ours(transformer, base, rule, adapter, host, folder):
    save_adapter(folder / "random.safetensors", adapter, torch.float32)
    theirs, log = host("random.safetensors")
    assert "lora key not loaded" not in log
    with applied(transformer, [(adapter, STRENGTH)], device=torch.device("cpu"), dtype=torch.float32):
        for name in CASES:
            assert distance(ours(transformer, name, rule), theirs) < TOLERANCE
            for stream in ("video", "audio"):
                assert (theirs[f"{name}.{stream}"] - base[f"{name}.{stream}"]).abs().max() > 100 * TOLERANCE


def test_every_layer_of_the_file_acts(transformer, adapter, base, rule):
    """Without one layer the output is another one, so the agreement above covers all of them."""
    with applied(transformer, [(adapter, STRENGTH)], device=torch.device("cpu"), dtype=torch.float32):
        whole = ours(transformer, "independent", rule)
    for left_out in adapter.layers:
        rest = Adapter("rest", {k: v for k, v in adapter.layers.items() if k != left_out}, "2.0")
        with applied(transformer, [(rest, STRENGTH)], device=torch.device("cpu"), dtype=torch.float32):
            assert distance(ours(transformer, "independent", rule), whole) > 2 * TOLERANCE, left_out


def test_host_says_which_keys_it_leaves_out(host, folder):
    """What the test above looks for in the log is what this host writes."""
    state = {f"diffusion_model.transformer_blocks.99.attn1.to_q.{m}.weight": torch.ones(2, 2) for m in ("lora_A", "lora_B")}
    save_file(state, folder / "foreign.safetensors")
    assert "lora key not loaded" in host("foreign.safetensors")[1]


def random_layer(kind, outputs, inputs, weight, draw):
    """A layer of ``kind`` whose change is of the base's size; a DoRA's magnitude is off by up to a third."""

    def normal(*shape, scale=1.0):
        return torch.randn(*shape, generator=draw) * scale

    if kind == "dora":
        scale = weight.norm(dim=1, keepdim=True) * (0.7 + 0.6 * torch.rand(outputs, 1, generator=draw))
        return DoRALayer(normal(RANK, inputs, scale=inputs**-0.5), normal(outputs, RANK, scale=0.2), scale)
    if kind == "loha":
        return LoHaLayer(normal(outputs, RANK, scale=0.3), normal(RANK, inputs), normal(outputs, RANK, scale=0.3), normal(RANK, inputs, scale=inputs**-0.5))
    cells = normal(2, 4, scale=0.5)
    if kind == "lokr whole":
        return LoKrLayer(cells, (normal(outputs // 2, inputs // 4, scale=inputs**-0.5),))
    return LoKrLayer(cells, (normal(outputs // 2, RANK, scale=0.5), normal(RANK, inputs // 4, scale=inputs**-0.5)))


@pytest.mark.parametrize("kind", ["dora", "loha", "lokr", "lokr whole"])
def test_every_kind_changes_the_hosts_model_as_ours(kind, transformer, base, rule, adapter, host, folder):
    draw = torch.Generator().manual_seed(4)
    weights = {name: transformer.get_submodule(name).weight for name in adapter.layers}
    other = Adapter(kind, {n: random_layer(kind, *w.shape, w, draw) for n, w in weights.items()}, "2.0")
    save_adapter(folder / "kind.safetensors", other, torch.float32)
    theirs, log = host("kind.safetensors")
    assert "lora key not loaded" not in log
    with applied(transformer, [(other, STRENGTH)], device=torch.device("cpu"), dtype=torch.float32):
        for name in CASES:
            assert distance(ours(transformer, name, rule), theirs) < TOLERANCE
            for stream in ("video", "audio"):
                assert (theirs[f"{name}.{stream}"] - base[f"{name}.{stream}"]).abs().max() > 100 * TOLERANCE
