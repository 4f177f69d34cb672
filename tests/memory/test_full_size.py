"""Random files in the real layout: the published counts, and a base that is read from one without ever being whole in memory."""

import json
import os
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.load import REHEARSED
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.cli import main
from ltx2core.full_size import GIB, full_plans, plan_checkpoint, plan_gemma, write_random
from ltx2core.models.build import load_audio_vae, load_connectors, load_transformer, load_video_vae, load_vocoder
from ltx2core.text.encoder import load_text_encoder
from ltx2core.text.source import open_text_encoder
from ltx2core.tiny import TinySize, tiny_config

ROOT = Path(__file__).resolve().parents[2]
# Values of the published 19B file by part, in millions, counted from its own modules.
PUBLISHED = {
    "model.diffusion_model.transformer_blocks.7.": 386.1, "vae.encoder.": 694.1, "vae.decoder.": 528.4, "audio_vae.": 53.2, "vocoder.": 55.6, "": 21639.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    return full_plans(tmp_path_factory.mktemp("full"), gemma_fp8=True)


@pytest.mark.parametrize("part", PUBLISHED)
def test_values_are_as_many_as_in_the_published_file(plans, part):
    values = sum(math.prod(e.shape) for k, e in plans[0].entries.items() if k.startswith(part))
    assert values / 1e6 == pytest.approx(PUBLISHED[part], abs=0.06 if part else 1)


def test_gemma_has_its_published_size(plans):
    # 11.77 B values of the language model, as transformers counts them without its head.
    values = sum(math.prod(e.shape) for k, e in plans[1].entries.items() if k.endswith(".weight"))
    assert values / 1e9 == pytest.approx(11.77, abs=0.01) and plans[1].nbytes < 0.56 * 2 * values


def test_small_ones_load_and_run(tmp_path):
    size = TinySize()
    checkpoint = open_checkpoint(write_random(plan_checkpoint(tmp_path / "c.safetensors", tiny_config(size), size), torch.device("cpu")))
    for load in (load_transformer, load_connectors, load_video_vae, load_audio_vae, load_vocoder):
        assert all(p.isfinite().all() for p in load(checkpoint).parameters())
    weight = load_transformer(checkpoint).transformer_blocks[1].attn1.to_q.weight.float()
    assert weight.std().item() == pytest.approx(weight.shape[1] ** -0.5, rel=0.05)
    for fp8 in (False, True):
        sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
        encoder = load_text_encoder(open_text_encoder(write_random(plan_gemma(tmp_path / f"g{fp8}.safetensors", sizes, 512, fp8), torch.device("cpu"))), dtype=torch.float32)
        states, _ = encoder.hidden_states(["A red circle."], 16)
        assert states.isfinite().all() and 0.1 < states[:, -1].std().item() < 10
        assert encoder.model.layers[1].mlp.up_proj.weight.std().item() == pytest.approx(64**-0.5, rel=0.1)


def test_the_plan_is_told_and_a_full_disk_is_said_before_anything_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 30 * GIB}))
    assert main(["tiny", str(tmp_path / "models"), "--full", "--gemma", "bf16"]) == 1
    told = capsys.readouterr()
    assert "40.3 GiB" in told.out and "of 30.0 GiB free" in told.out and "choose a folder on a larger disk" in told.err
    assert not (tmp_path / "models").exists()


def test_host_memory_never_holds_the_whole_base(tmp_path):
    """Peak bytes of a process that quantises while it reads, on the processor, where the result lies in host memory too."""
    file = write_random(plan_checkpoint(tmp_path / "c.safetensors", tiny_config(REHEARSED), REHEARSED), torch.device("cpu"))
    command = [sys.executable, "benchmarks/load.py", "--rehearse", "--forms", "int8", "--checkpoint", str(file)]
    # glibc keeps freed pieces between kept ones in some runs and not in others; with this it gives each back at once.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    row = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout.splitlines()[-1])
    # The file has 0.28 GiB in bf16: reading it all and quantising then would pass this bound.
    assert row["model_gib"] < 0.15 and row["model_gib"] * 0.9 < row["host_peak_gib"] < 0.25 < file.stat().st_size / GIB
