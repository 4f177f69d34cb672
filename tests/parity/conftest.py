"""The official numbers, and a combined file with the weights that they were made from."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
if str(FIXTURES) not in sys.path:
    sys.path.insert(0, str(FIXTURES))

from ltx2core.checkpoint.combined import open_checkpoint  # noqa: E402
from ltx2core.models import build  # noqa: E402


@pytest.fixture(scope="session")
def official():
    """name -> float32 numbers that the official code put out."""
    return {**load_file(FIXTURES / "official.safetensors"), **load_file(FIXTURES / "official_stages.safetensors")}


@pytest.fixture(scope="session")
def cases():
    import official_cases

    return official_cases


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory, cases):
    """A file whose names and shapes are those that the official modules declare."""
    from official_weights import fill

    shapes = json.loads((FIXTURES / "official.json").read_text(encoding="utf-8"))["tensors"]
    path = tmp_path_factory.mktemp("official") / "tiny-official.safetensors"
    save_file(fill(shapes), path, metadata={"config": json.dumps(cases.CONFIG)})
    return open_checkpoint(path)


@pytest.fixture(scope="session")
def component(tiny_checkpoint):
    """component(name) -> our module in float32, loaded by our loader; one a session."""
    loaded = {}

    def load(name):
        if name not in loaded:
            loaded[name] = build.load_component(tiny_checkpoint, name, "cpu", torch.float32)
        return loaded[name]

    return load


@pytest.fixture(scope="session")
def close(official):
    """close(ours, name): max abs difference from the official numbers, checked against ``tolerance`` and for non-triviality."""

    def check(ours, name, tolerance=1e-4):
        theirs = official[name]
        assert ours.shape == theirs.shape, (name, tuple(ours.shape), tuple(theirs.shape))
        assert ours.dtype == torch.float32 and theirs.std() > 0, name
        difference = (ours.detach() - theirs).abs().max().item()
        assert difference <= tolerance, f"{name}: differs by {difference:.3g} on outputs up to {theirs.abs().max():.3g}"
        return difference

    return check
