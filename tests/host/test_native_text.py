"""The text encoder against the host's own Gemma3, an independent implementation, and its own quantised formats."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ltx2core.checkpoint.dequantize import quantised_layers, read_weight
from ltx2core.checkpoint.header import read_header
from ltx2core.text.encoder import load_text_encoder
from ltx2core.text.source import open_text_encoder
from ltx2core.tiny_gemma import write_tiny_gemma

pytestmark = pytest.mark.host

KINDS = ("file", "file_fp8", "file_nvfp4")
PROMPTS = ["A red circle moves right,  slowly.", "Zwölf Boxkämpfer\n猫 \U0001f3b5 12 <end_of_turn>", ""]
# More and less than one tile of block scales each way.
SIZES = [(16, 32), (208, 96), (384, 128)]
# Layers: two of the six kinds of attention would stay unseen with fewer than six.
LAYERS, LENGTH = 7, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("native_text")


@pytest.fixture(scope="module")
def files(folder):
    return {kind: write_tiny_gemma(folder / f"{kind}.safetensors", num_layers=LAYERS, kind=kind) for kind in KINDS}


@pytest.fixture(scope="module")
def theirs(native_job, folder, files):
    job = {
        "files": {k: str(p) for k, p in files.items()}, "prompts": PROMPTS, "sizes": SIZES, "outputs": str(folder / "outputs.safetensors"),
    }  # fmt: skip
    native_job("native_text", job)
    return load_file(folder / "outputs.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_and_tokens_equal_the_hosts(files, theirs, kind):
    """The host runs a prompt without padding; ours is padded on the left."""
    encoder = load_text_encoder(open_text_encoder(files[kind]), dtype=torch.float32)
    ids, mask = encoder.tokenizer(PROMPTS, LENGTH)
    states, _ = encoder.hidden_states(PROMPTS, LENGTH)
    for row in range(len(PROMPTS)):
        valid = mask[row].bool()
        assert ids[row][valid].tolist() == theirs[f"{kind}.{row}.tokens"].tolist()
        expected = theirs[f"{kind}.{row}.states"].movedim(0, -1)
        assert expected.shape == (int(mask[row].sum()), 64, LAYERS + 1)
        torch.testing.assert_close(states[row][valid], expected, atol=2e-4, rtol=1e-4)


def test_weights_quantised_by_the_host_are_read_as_it_reads_them(theirs, folder):
    path = folder / "quantised.safetensors"
    header = read_header(path)
    layers = quantised_layers(header)
    assert len(layers) == 3 * len(SIZES)
    with safe_open(path, framework="pt") as file:
        for key, layer in layers.items():
            expected = file.get_tensor("expected." + key.removesuffix(".weight"))
            torch.testing.assert_close(read_weight(file, key, layer, torch.float32), expected, rtol=1e-6, atol=0)
