"""One model after another: what is alive when each comes is measured, in bytes of weights."""

import gc
import json
import math
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from ltx2core.checkpoint.header import read_header
from ltx2core.demo_clips import write_demo_clips
from ltx2core.runfile import Runner, read_run
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma

SIZE = {"width": 96, "height": 64, "frames": 9}


def weights(alive_before=frozenset()):
    """Address -> values, of every parameter of every module that is alive; a module that only waits for the collector is not."""
    gc.collect()
    modules = [m for m in gc.get_objects() if isinstance(m, nn.Module)]
    return {p.data_ptr(): p.numel() for m in modules for p in m._parameters.values() if p is not None and p.numel() and not p.is_meta and p.data_ptr() not in alive_before}


class Measuring(PlainResidency):
    """Notes how many weights are alive when a module is wanted on the device."""

    def __init__(self):
        super().__init__(torch.device("cpu"))
        self.before, self.seen = frozenset(weights()), []

    @contextmanager
    def use(self, module, working_bytes=0):
        self.seen.append((type(module).__name__, sum(weights(self.before).values())))
        with super().use(module, working_bytes) as used:
            yield used


@pytest.fixture
def run_file(tmp_path):
    write_tiny_checkpoint(tmp_path / "tiny.safetensors")
    write_tiny_gemma(tmp_path / "gemma.safetensors")
    write_demo_clips(tmp_path / "clips", count=2)
    run = {
        "checkpoint": "tiny.safetensors", "text_encoder": "gemma.safetensors", "output": "out", "name": "mine", "dataset": {"folder": "clips", **SIZE},
        "train": {"steps": 2, "dtype": "float32", "validate_every": 0},
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return tmp_path / "run.json"


def stored(path, *prefixes, without=()):
    """Values of the tensors of a file whose names begin with one of ``prefixes``."""
    tensors = read_header(path).tensors
    return sum(math.prod(t.shape) for k, t in tensors.items() if k.startswith(prefixes) and not any(w in k for w in without))


def test_each_model_is_gone_before_the_next_comes(run_file):
    residency = Measuring()
    Runner(read_run(run_file), residency, ConsoleReporter(quiet=True), StopFlag()).train()
    file, gemma = run_file.parent / "tiny.safetensors", run_file.parent / "gemma.safetensors"
    text = stored(gemma, "model.") + stored(file, "model.diffusion_model.video_embeddings", "model.diffusion_model.audio_embeddings", "text_embedding_projection.")
    vaes = stored(file, "vae.", "audio_vae.", without=("per_channel_statistics",))
    transformer = stored(file, "model.diffusion_model.", without=("_embeddings_connector",))
    # What the VAEs hold of statistics are buffers and no weights.
    expected = {"TextEncoder": text, "LTX2TextConnectors": text, "AutoencoderKLLTX2Video": vaes, "AutoencoderKLLTX2Audio": vaes, "LTX2VideoTransformer3DModel": transformer}
    assert dict(residency.seen) == expected and [name for name, _ in residency.seen] == list(expected)
    assert min(expected.values()) > 1e5
